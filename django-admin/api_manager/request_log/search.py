"""One page of the rows that are meant, by keyset on (timestamp, id).

Where an index finds all that was asked for, a page is one short walk along it. Otherwise rows are looked at
in windows, each of so many rows along the same index: the page ends when it is full, when the range is at its
end, or after ``BUDGET``; then it says up to which moment it looked, and the next page goes on from there, for
as long as ``FURTHER``.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, Self

from django.db.models import Count, Max, Min, Q, QuerySet

from api_manager.models import RequestLog

from .criteria import Criteria

PER_PAGE: Final = 50
WINDOW: Final = 10_000
"""Rows looked at by one query."""
MOST_WINDOWS: Final = 60
BUDGET: Final = timedelta(milliseconds=10)
"""No window of the first page begins after this: what a page costs beside it is four times as much."""
FURTHER: Final = timedelta(milliseconds=200)
"""No window of a page that goes on from another begins after this: who asks for it wants to get far."""
_SEPARATOR: Final = "~"
_LEAST_ID: Final = 0  # less than that of any row
_MOST_ID: Final = 2**63 - 1


@dataclass(frozen=True)
class Position:
    """Between two rows: behind the one of this time and id."""

    timestamp: datetime
    id: int

    @classmethod
    def of(cls, row: RequestLog) -> Self:
        """At a row."""
        return cls(row.timestamp, row.pk)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what ``str`` made. Raises ``ValueError``: it is no position."""
        moment, separator, number = text.partition(_SEPARATOR)
        if not (separator and number.isascii() and number.isdecimal() and int(number) <= _MOST_ID):
            raise ValueError("expected a time, ~, and a number")
        timestamp = datetime.fromisoformat(moment)
        if timestamp.tzinfo is None:
            raise ValueError("the time lacks its zone")
        return cls(timestamp.astimezone(UTC), int(number))

    def __str__(self) -> str:
        return f"{self.timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}{_SEPARATOR}{self.id}"

    def back(self, *, newer: bool) -> "Position":
        """Where to turn round to, so that the row it names is not left out."""
        return Position(self.timestamp, min(self.id + 1, _MOST_ID) if newer else max(self.id - 1, _LEAST_ID))

    @property
    def older(self) -> Q:
        """The rows behind it, as the list goes."""
        if self.id == _LEAST_ID:  # said shorter, since each row that is looked at is asked
            return Q(timestamp__lt=self.timestamp)
        return Q(timestamp__lte=self.timestamp) & (Q(timestamp__lt=self.timestamp) | Q(id__lt=self.id))

    @property
    def newer(self) -> Q:
        """The rows before it."""
        if self.id == _MOST_ID:
            return Q(timestamp__gt=self.timestamp)
        return Q(timestamp__gte=self.timestamp) & (Q(timestamp__gt=self.timestamp) | Q(id__gt=self.id))


@dataclass(frozen=True)
class Page:
    """Rows, newest first, and where the pages beside it begin; None where there is nothing more.

    ``looked_until``: where the search stopped early. Beyond it there may be more.
    """

    rows: list[RequestLog]
    newer: Position | None = None
    older: Position | None = None
    looked_until: datetime | None = None


def find(criteria: Criteria, position: Position | None = None, *, newer: bool = False) -> Page:
    """The page that begins at a position and goes back in time, or with ``newer`` forward.

    Without a position: the newest, or the oldest.
    """
    rows, stopped = _walk(criteria, position, ascending=newer)
    has_more = len(rows) > PER_PAGE
    rows = rows[:PER_PAGE]
    beyond = Position.of(rows[-1]) if has_more else stopped
    behind = (Position.of(rows[0]) if rows else position.back(newer=newer)) if position is not None else None
    looked_until = stopped.timestamp if stopped is not None and not has_more else None
    if newer:
        return Page(rows[::-1], beyond, behind, looked_until)
    return Page(rows, behind, beyond, looked_until)


def estimate(criteria: Criteria) -> int:
    """How many rows there may be: the planner's guess, from what it knows of each partition."""
    plan = json.loads(matching(criteria).explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])


def matching(criteria: Criteria) -> QuerySet[RequestLog]:
    """All that is meant, in no order."""
    return RequestLog.objects.filter(criteria.indexed & criteria.others).order_by()


def _walk(
    criteria: Criteria, position: Position | None, *, ascending: bool
) -> tuple[list[RequestLog], Position | None]:
    """A page's rows and one more, and where the search stopped if it did so early."""
    order = ("timestamp", "id") if ascending else ("-timestamp", "-id")
    indexed = RequestLog.objects.filter(criteria.indexed).order_by(*order)
    others = criteria.others
    wanted = PER_PAGE + 1
    if not others:
        return list(_beyond(indexed, position, ascending=ascending)[:wanted]), None
    rows: list[RequestLog] = []
    ends_at = monotonic() + (BUDGET if position is None else FURTHER).total_seconds()
    for _ in range(MOST_WINDOWS):
        ahead = _beyond(indexed, position, ascending=ascending)
        edge = _edge(ahead, ascending=ascending)
        window = ahead if edge is None else _up_to(ahead, edge, ascending=ascending)
        rows += window.filter(others)[: wanted - len(rows)]
        if edge is None or len(rows) == wanted:
            return rows, None
        position = Position(edge, _MOST_ID if ascending else _LEAST_ID)
        if monotonic() > ends_at:
            break
    return rows, position


def _beyond(
    rows: QuerySet[RequestLog], position: Position | None, *, ascending: bool
) -> QuerySet[RequestLog]:
    if position is None:
        return rows
    return rows.filter(position.newer if ascending else position.older)


def _edge(ahead: QuerySet[RequestLog], *, ascending: bool) -> datetime | None:
    """Where the next window ends; None if fewer rows are left."""
    times = ahead.order_by("timestamp" if ascending else "-timestamp").values("timestamp")[:WINDOW]
    found = times.aggregate(rows=Count("*"), edge=(Max if ascending else Min)("timestamp"))
    return found["edge"] if found["rows"] == WINDOW else None


def _up_to(rows: QuerySet[RequestLog], edge: datetime, *, ascending: bool) -> QuerySet[RequestLog]:
    # With all rows of that moment: the next window begins behind them.
    return rows.filter(timestamp__lte=edge) if ascending else rows.filter(timestamp__gte=edge)
