"""Statements as text: CSV (RFC 4180), JSON, and a table for a terminal.

Amounts and prices are decimals, never binary fractions; in JSON they are strings for that. A text that a
spreadsheet would take for a formula gets a ' before it (CSV only;
https://owasp.org/www-community/attacks/CSV_Injection).
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from django.conf import settings

from .statement import Line, Month, Statement, total

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NO_OWNER: Final = "(without an owner)"
_NUMBERS: Final = frozenset({"hours", "requests", "extra", "amount"})

COLUMNS: Final = (
    "month",
    "state",
    "owner_email",
    "key",
    "key_name",
    "key_hint",
    "tier",
    "hours",
    "price_per_month",
    "requests",
    "included_requests",
    "extra_requests",
    "price_per_thousand",
    "amount",
    "currency",
)
"""Of a CSV file."""

Statements = Sequence[Statement]


def state(*, is_final: bool) -> str:
    """The word for it."""
    return "final" if is_final else "preliminary"


def as_csv(month: Month, statements: Statements, *, is_final: bool) -> str:
    """A row for each line of each statement; the total is theirs to sum."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for line in _lines(statements):
        members = {
            "month": str(month),
            "state": state(is_final=is_final),
            "owner_email": line.owner,
            **_members(line),
            "currency": settings.CURRENCY,
        }
        writer.writerow([_harmless(members[name]) for name in COLUMNS])
    return file.getvalue()


def as_json(month: Month, statements: Statements, *, is_final: bool) -> str:
    """One object, with a list of statements and their lines."""
    document = {
        "month": str(month),
        "state": state(is_final=is_final),
        "currency": settings.CURRENCY,
        "hours": month.hours,
        "statements": [
            {
                "owner_email": each.owner,
                "requests": each.requests,
                "amount": str(each.amount),
                "lines": [_members(line) for line in each.lines],
            }
            for each in statements
        ],
        "amount": str(total(_lines(statements))),
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def as_table(month: Month, statements: Statements, *, is_final: bool) -> str:
    """Aligned columns, and the total of each owner and of all."""
    heading = ("owner", "key", "tier", "hours", "requests", "extra", "amount")
    rows: list[tuple[str, ...]] = [heading]
    for each in statements:
        rows.extend(
            (
                each.owner or _NO_OWNER,
                f"{line.key} {line.key_name}",
                line.tier,
                f"{line.hours:,}",
                f"{line.requests:,}",
                f"{line.extra:,}",
                f"{line.amount:,f}",
            )
            for line in each.lines
        )
        rows.append(
            (
                each.owner or _NO_OWNER,
                "total",
                "",
                "",
                f"{each.requests:,}",
                f"{each.extra:,}",
                f"{each.amount:,f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (
        "  ".join(
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for name, text, width in zip(heading, row, widths, strict=True)
        ).rstrip()
        for row in rows
    )
    first = f"{month}, {state(is_final=is_final)}, in {settings.CURRENCY}"
    last = f"All owners: {total(_lines(statements)):,f} {settings.CURRENCY}"
    return "\n".join((first, "", *aligned, "", last, ""))


FORMATS: Final[Mapping[str, Callable[..., str]]] = {"csv": as_csv, "json": as_json, "table": as_table}
"""A format's name, and what makes a text of a month's statements."""


def export_detail(month: Month, owner: str | None, name: str) -> dict[str, str]:
    """What the audit says of an export; an erasure finds the owner in it."""
    detail = {"statement": str(month), "format": name}
    return detail if owner is None else detail | {"owner_email": owner}


def _lines(statements: Iterable[Statement]) -> list[Line]:
    return [line for each in statements for line in each.lines]


def _members(line: Line) -> dict[str, Any]:
    return {
        "key": line.key,
        "key_name": line.key_name,
        "key_hint": line.key_hint,
        "tier": line.tier,
        "hours": line.hours,
        "price_per_month": str(line.price_per_month),
        "requests": line.requests,
        "included_requests": line.included,
        "extra_requests": line.extra,
        "price_per_thousand": str(line.price_per_thousand),
        "amount": str(line.amount),
    }


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
