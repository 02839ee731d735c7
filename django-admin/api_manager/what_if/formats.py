"""An answer as text: CSV (RFC 4180) of its hours, JSON of all of it, and a table for a terminal."""

import csv
import io
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from .question import Question, written
from .result import Result, Sums

COLUMNS: Final = ("hour", "admitted", "denied", "would_admit", "would_deny")
"""Of a CSV file."""


def terms(question: Question) -> list[str]:
    """The limits that were asked about, in words."""
    burst = question.burst or question.rate
    return [f"{question.rate:,} an hour, burst {burst:,}", *(limit.in_words() for limit in question.limits)]


def certainty(result: Result) -> str:
    """How far the answer may be off, and why."""
    if not result.error:
        return "Exact: as the limiter would have decided these requests."
    return (
        f"The number that would be admitted may be off by {result.error:,} at most: what buckets held when"
        f" the range began is not always known, and {result.shared:,} denials share a row with others."
    )


def command(question: Question) -> str:
    """The command that asks the same."""
    of = ("--key", str(question.key.pk)) if question.key else ("--tier", question.tier.name)
    words = ["manage.py", "what_if", *of, "--requests-per-hour", str(question.rate)]
    if question.burst:
        words += ["--burst", str(question.burst)]
    now = {written(limit) for limit in question.tier.limits.all()}
    for limit in map(written, question.limits):
        if question.key or limit not in now:
            words += ["--limit", limit]
    asked = {limit.name for limit in question.limits}
    for name in (limit.name for limit in question.tier.limits.all()):
        if name not in asked:
            words += ["--without", name]
    words += [
        "--since",
        f"{question.span.start:%Y-%m-%dT%H:%M}",
        "--until",
        f"{question.span.end:%Y-%m-%dT%H:%M}",
    ]
    return shlex.join(words)


def summary(result: Result) -> str:
    """What changes, in a sentence."""
    if not result.keys:
        return "The log has no requests of this time."
    total = result.total
    return (
        f"Keys with requests: {result.keys:,}; of these {result.changed_keys:,} would see a change."
        f" Requests that were denied and would be admitted: {total.newly_admitted:,};"
        f" admitted and would be denied: {total.newly_denied:,}."
    )


def as_csv(_question: Question, result: Result) -> str:
    """A row for each hour."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for hour in result.hours:
        writer.writerow([_text(hour.start), *_counts(hour.sums).values()])
    return file.getvalue()


def as_json(question: Question, result: Result) -> str:
    """One object: what was asked, the totals, the hours, and the keys that change most."""
    document = {
        "tier": question.tier.name,
        "key": question.key and question.key.pk,
        "requests_per_hour": question.rate,
        "burst": question.burst,
        "limits": [written(limit) for limit in question.limits],
        "since": _text(result.span.start),
        "until": _text(result.span.end),
        **_counts(result.total),
        "newly_admitted": result.total.newly_admitted,
        "newly_denied": result.total.newly_denied,
        "error": result.error,
        "denied_by": result.denied_by,
        "keys": result.keys,
        "changed_keys": result.changed_keys,
        "hours": [{"hour": _text(hour.start), **_counts(hour.sums)} for hour in result.hours],
        "top_keys": [
            {
                "key": each.key.pk,
                "name": each.key.name,
                "hint": each.key.hint,
                **_counts(each.sums),
                "newly_admitted": each.sums.newly_admitted,
                "newly_denied": each.sums.newly_denied,
            }
            for each in result.top
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def as_table(question: Question, result: Result) -> str:
    """The totals, each hour in which something happened, and the keys that change most."""
    of = f"key {question.key}" if question.key else f"tier {question.tier}"
    total = result.total
    hours = [(f"{hour.start:%Y-%m-%d %H:%M}", hour.sums) for hour in result.hours if hour.sums != Sums()]
    lines = [
        f"What if: {of}, {result.span.start:%Y-%m-%d %H:%M} to {result.span.end:%Y-%m-%d %H:%M} (UTC)",
        *(f"  {each}" for each in terms(question)),
        "",
        *_aligned(("", "admitted", "denied", "would admit", "would deny"), [*hours, ("all", total)], _counts),
        "",
        summary(result),
    ]
    if result.top:
        lines += [
            "",
            *_aligned(
                ("key", "admitted", "denied", "newly admitted", "newly denied"),
                [(str(each.key), each.sums) for each in result.top],
                _changes,
            ),
        ]
    if result.denied_by:
        lines += [
            "",
            "Denied by " + ", ".join(f"{name} {count:,}" for name, count in result.denied_by.items()),
        ]
    return "\n".join((*lines, "", certainty(result), ""))


FORMATS: Final[Mapping[str, Callable[[Question, Result], str]]] = {
    "csv": as_csv,
    "json": as_json,
    "table": as_table,
}
"""A format's name, and what makes a text of an answer."""


def _aligned(
    heading: tuple[str, ...], rows: Sequence[tuple[str, Sums]], counts: Callable[[Sums], Mapping[str, int]]
) -> list[str]:
    texts = [heading, *((name, *(f"{count:,}" for count in counts(sums).values())) for name, sums in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def _counts(sums: Sums) -> dict[str, int]:
    return {
        "admitted": sums.admitted,
        "denied": sums.denied,
        "would_admit": sums.would_admit,
        "would_deny": sums.would_deny,
    }


def _changes(sums: Sums) -> dict[str, Any]:
    return {
        "admitted": sums.admitted,
        "denied": sums.denied,
        "newly_admitted": sums.newly_admitted,
        "newly_denied": sums.newly_denied,
    }


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
