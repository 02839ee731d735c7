"""Which rows of the log are meant."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from django.db.models import Q

LONGEST: Final = timedelta(days=92)
"""The longest range: what is kept longer is an archive's."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Span:
    """From ``start`` on, up to but without ``end``."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start


@dataclass(frozen=True)
class Criteria:
    """What all of the rows have. None, or an empty text: whatever it is.

    ``keys``: the numbers of the keys. ``endpoint``: in full, or with a ``*`` behind it how it begins.
    ``codes``: the lowest and the highest status code.
    """

    span: Span
    keys: tuple[int, ...] | None = None
    endpoint: str = ""
    codes: tuple[int, int] | None = None
    network: Network | None = None

    @property
    def key(self) -> int | None:
        """The key, if it is one."""
        return self.keys[0] if self.keys is not None and len(self.keys) == 1 else None

    @property
    def indexed(self) -> Q:
        """What an index finds: the time, and a single key."""
        found = Q(timestamp__gte=self.span.start, timestamp__lt=self.span.end)
        return found & Q(api_key=self.key) if self.key is not None else found

    @property
    def others(self) -> Q:
        """What can only be looked for row by row; empty where there is nothing of that."""
        found = Q()
        if self.keys is not None and self.key is None:
            found &= Q(api_key__in=self.keys)
        if self.endpoint.endswith("*"):
            found &= Q(endpoint__startswith=self.endpoint[:-1])
        elif self.endpoint:
            found &= Q(endpoint=self.endpoint)
        if self.codes is not None:
            found &= Q(status_code__range=self.codes)
        if self.network is not None:
            # Addresses of one family are in the order of their numbers, and apart from those of the other.
            found &= Q(client_ip__range=(str(self.network[0]), str(self.network[-1])))
        return found

    def facts(self) -> dict[str, Any]:
        """What is said of it in the audit; only what was asked for."""
        facts: dict[str, Any] = {"from": _text(self.span.start), "to": _text(self.span.end)}
        if self.keys is not None:
            facts["keys"] = list(self.keys)
        if self.endpoint:
            facts["endpoint"] = self.endpoint
        if self.codes is not None:
            low, high = self.codes
            facts["status"] = str(low) if low == high else f"{low}–{high}"
        if self.network is not None:
            facts["address"] = str(self.network)
        return facts


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
