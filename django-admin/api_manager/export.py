"""Keys as CSV, for a spreadsheet or another system: what is known of them, and no secret."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import QuerySet

from .models import APIKey

_CHUNK: Final = 2000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


_COLUMNS: Final[dict[str, Callable[[APIKey], Any]]] = {
    "id": lambda key: key.pk,
    "hint": lambda key: key.hint,
    "name": lambda key: key.name,
    "owner_email": lambda key: key.owner_email,
    "tier": lambda key: key.tier.name,
    "status": lambda key: key.status.value,
    "requests_per_hour": lambda key: key.effective_requests_per_hour,
    "burst": lambda key: key.effective_burst,
    "own_requests_per_hour": lambda key: key.requests_per_hour,
    "own_burst": lambda key: key.burst,
    "allowed_cidrs": lambda key: " ".join(key.allowed_cidrs),
    "note": lambda key: key.note,
    "created_at": lambda key: _time(key.created_at),
    "expires_at": lambda key: _time(key.expires_at),
    "last_used_at": lambda key: _time(key.activity.last_used_at if hasattr(key, "activity") else None),
    "revoked_at": lambda key: _time(key.revoked_at),
    "revoked_reason": lambda key: key.revoked_reason,
    "replaces": lambda key: key.replaces_id,
}


def csv_lines(keys: QuerySet[APIKey]) -> Iterator[str]:
    """The lines of a CSV file with a heading; read from the database as they are asked for."""
    writer = csv.writer(_Echo())
    yield writer.writerow(_COLUMNS)
    rows = keys.select_related("tier", "activity").order_by("pk").iterator(_CHUNK)
    for key in rows:
        yield writer.writerow([_harmless(value(key)) for value in _COLUMNS.values()])


def _harmless(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line
