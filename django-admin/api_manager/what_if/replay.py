"""The request log in the order in which it happened, decided once more.

Rows are read day by day by a server-side cursor, in a thread that is one batch ahead: PostgreSQL and Python
work at the same time. Memory is that of two batches of ``_ROWS_AT_ONCE`` rows, of the hours, and of each key.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from django.db import connection, transaction

from api_manager.request_log.criteria import Span

from . import kept, subjects
from .doubt import Doubt
from .limiter import Levels
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND
from .question import Question
from .result import Hour, KeyChange, Result, Sums
from .subjects import Subject

SHARED_WITHIN: Final = timedelta(seconds=1.1)
"""How long before its row a denial may have come that shares it: a second, and what its recording takes."""
MOST_WARM_UP: Final = timedelta(days=1)
TOP_KEYS: Final = 10
_ROWS_AT_ONCE: Final = 5_000
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_HOUR_TICKS: Final = 3600 * TICKS_PER_SECOND
_SHARED_TICKS: Final = SHARED_WITHIN // timedelta(microseconds=1) * (TICKS_PER_SECOND // 1_000_000)
_EPOCH_TICKS: Final = TICKS_EPOCH_SECONDS * TICKS_PER_SECOND
_ADMITTED: Final = 200

# Redis's time is one of whole microseconds, of 16 ticks each, and PostgreSQL has them all.
_ROWS: Final = """
SELECT api_key_id, (extract(epoch FROM "timestamp") * 1000000)::bigint, endpoint, status_code, cost, count
FROM request_log
WHERE "timestamp" >= %s AND "timestamp" < %s AND api_key_id = ANY(%s) AND status_code IN (200, 429)
ORDER BY "timestamp", id
"""

Row = tuple[int, int, str, int, int, int]
"""Key, microseconds since 1970, endpoint, status, cost, count."""
Progress = Callable[[int], None]
"""Is told how many hours have been decided so far, of ``hours``."""


class TooMuch(Exception):
    """There are more rows, or it takes longer, than was allowed."""


def replay(
    question: Question,
    tell: Progress = lambda _: None,
    *,
    most_rows: int | None = None,
    longest: timedelta | None = None,
) -> Result:
    """Decide a question. Raises ``TooMuch`` beyond ``most_rows`` or ``longest``, where these are said."""
    ends_at = None if longest is None else monotonic() + longest.total_seconds()
    run = _Run(question)
    rows = 0
    span = Span(run.warms_up_from, question.span.end)
    tell(0)
    # In a transaction a cursor reads as it goes; and it is closed before that ends, also beyond a bound.
    with transaction.atomic(), closing(_chunks(span, run.key_ids)) as chunks:
        for chunk in chunks:
            rows += len(chunk)
            if (most_rows is not None and rows > most_rows) or (
                ends_at is not None and monotonic() > ends_at
            ):
                raise TooMuch
            run.decide(chunk)
            tell(run.hours_done)
    return run.result(rows)


def hours(span: Span) -> int:
    """How many hours a time has; the last one may not be over."""
    return -((span.start - span.end) // _HOUR)


class _Tally:
    """A subject: its levels, and what came of its requests."""

    __slots__ = ("doubt", "error", "levels", "low", "subject", "sums")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.levels: Levels | None = None
        self.low: Levels | None = None
        """While it warms up: as ``levels``, had its buckets been empty at first."""
        self.sums = [0, 0, 0, 0]
        self.doubt: Doubt | None = None
        self.error = 0

    def end_doubt(self) -> None:
        """Its levels are known again, or no more is asked."""
        if self.doubt is not None:
            self.error += self.doubt.error
        self.doubt = self.low = None


class _Run:
    """Decides rows in their order."""

    def __init__(self, question: Question) -> None:
        self._span = question.span
        found = subjects.of(question)
        slowest = max((subject.plan.refill_ticks for subject in found), default=0)
        warm_up = min(timedelta(microseconds=slowest // 16 + 1), MOST_WARM_UP)
        # Before a day that is gone nothing can be known of what buckets held after it.
        begins = _full_hour(question.span.start - warm_up)
        self.warms_up_from: Final = kept.begin(Span(begins, question.span.start))
        self._begins = _ticks(self.warms_up_from)
        limits = {limit.name: limit for subject in found[:1] for limit in subject.plan.limits}
        self._spent = subjects.spent(found, limits.values(), self.warms_up_from)
        self._tallies = [_Tally(subject) for subject in found]
        self._by_key = {key: tally for tally in self._tallies for key in tally.subject.keys}
        self._start = _ticks(question.span.start)
        self._hours = [[0, 0, 0, 0] for _ in range(hours(question.span))]
        self._denied_by: Counter[str] = Counter()
        self._shared = 0
        self.hours_done = 0

    @property
    def key_ids(self) -> list[int]:
        """Whose rows are wanted."""
        return list(self._by_key)

    def decide(self, rows: Sequence[Row]) -> None:
        """Decide rows that follow those before."""
        start, by_key, hours_ = self._start, self._by_key, self._hours
        for key, microseconds, endpoint, status, cost, count in rows:
            now = microseconds * 16 - _EPOCH_TICKS
            tally = by_key[key]
            levels = tally.levels
            if levels is None:
                levels = self._begin(tally, now)
            if count > 1 or tally.doubt is not None:
                self._doubt(tally, levels, now, cost, endpoint, status, count)
            if count > 1:
                admitted, marks = levels.take_many(now, cost, endpoint, count)
            elif status == _ADMITTED:
                admitted, marks = levels.take(now, cost, endpoint)
            else:
                admitted, marks = self._take_denied(tally, levels, now, cost, endpoint)
            if now < start:
                continue
            hour, sums = hours_[(now - start) // _HOUR_TICKS], tally.sums
            if status == _ADMITTED:
                hour[0] += count
                sums[0] += count
                if not admitted:
                    hour[3] += count
                    sums[3] += count
            else:
                hour[1] += count
                sums[1] += count
                hour[2] += admitted
                sums[2] += admitted
            if admitted < count:
                self._count_denied(marks, count - admitted)
        self.hours_done = max(0, (now - start) // _HOUR_TICKS)

    def result(self, rows: int) -> Result:
        """What came of it, once all rows are decided."""
        used = [tally for tally in self._tallies if tally.sums[0] or tally.sums[1]]
        for tally in used:
            tally.end_doubt()
        changed = [tally for tally in used if tally.sums[2] or tally.sums[3]]
        top = heapq.nlargest(TOP_KEYS, changed, key=lambda tally: tally.sums[2] + tally.sums[3])
        keys = subjects.keys_by_id(tally.subject.newest for tally in top)
        hours_ = [
            Hour(self._span.start + number * _HOUR, Sums(*sums)) for number, sums in enumerate(self._hours)
        ]
        return Result(
            span=self._span,
            total=sum((hour.sums for hour in hours_), Sums()),
            hours=hours_,
            keys=len(used),
            changed_keys=len(changed),
            top=[KeyChange(keys[tally.subject.newest], Sums(*tally.sums)) for tally in top],
            denied_by=dict(self._denied_by.most_common()),
            error=sum(tally.error for tally in used),
            shared=self._shared,
            rows=rows,
        )

    def _count_denied(self, marks: Sequence[str], count: int) -> None:
        for mark in marks:
            if not mark.startswith("~"):
                self._denied_by[mark] += count

    def _begin(self, tally: _Tally, now: int) -> Levels:
        """Full buckets; and empty ones beside them, unless they are full by now, too."""
        plan, spent = tally.subject.plan, self._spent.get(tally.subject.newest)
        tally.levels = Levels(plan, self._begins, spent)
        low = Levels(plan, self._begins, spent, is_empty=True)
        if tally.levels.apart(low, now):
            tally.low, tally.doubt = low, Doubt(plan, self._begins, tally.levels)
        return tally.levels

    def _take_denied(
        self, tally: _Tally, levels: Levels, now: int, cost: int, endpoint: str
    ) -> tuple[int, tuple[str, ...]]:
        """Ask for what was denied: it may be dated late, and so be admitted where it would not have been."""
        had_room = levels.had_room(now, _SHARED_TICKS, cost, endpoint)
        admitted, marks = levels.take(now, cost, endpoint)
        if admitted and not had_room:
            if tally.doubt is None:
                plan, counts = tally.subject.plan, now >= self._start
                tally.doubt = Doubt.of_late(plan, now, levels, cost, endpoint, counts=counts)
            else:
                tally.doubt.tokens += 1
        return admitted, marks

    def _doubt(
        self, tally: _Tally, levels: Levels, now: int, cost: int, endpoint: str, status: int, count: int
    ) -> None:
        """Requests came to levels that are not known, or at a time that is not."""
        plan, counts = tally.subject.plan, now >= self._start
        if tally.doubt is not None and tally.doubt.is_over(now):
            tally.end_doubt()
        if tally.low is not None:
            if counts and tally.doubt is not None:
                tally.doubt.tokens += levels.apart(tally.low, max(now, self._start))
                tally.low = None
            else:
                tally.low.take_many(now, cost, endpoint, count)
        if count > 1:
            tally.doubt = tally.doubt or Doubt(plan, now, levels)
            is_split = plan.ends_within(_SHARED_TICKS, now)
            tally.doubt.tokens += count if is_split else min(count, plan.tokens_back(_SHARED_TICKS))
            tally.doubt.share(now, _SHARED_TICKS, cost, endpoint, count, counts=counts)
            self._shared += count if counts else 0
        elif tally.doubt is not None:
            within = 0 if status == _ADMITTED else _SHARED_TICKS
            tally.doubt.ask(now, cost, endpoint, within=within, counts=counts)


def _chunks(span: Span, keys: list[int]) -> Generator[list[Row]]:
    """The rows of a time and some keys, the oldest first; the next are found while these are decided."""
    start = span.start
    with ThreadPoolExecutor(1, "what-if") as reader:
        while start < span.end:
            end = min(span.end, start.replace(hour=0) + _DAY)
            with connection.chunked_cursor() as cursor:
                cursor.execute(_ROWS, [start, end, keys])
                ahead = reader.submit(cursor.fetchmany, _ROWS_AT_ONCE)
                try:
                    while chunk := ahead.result():
                        ahead = reader.submit(cursor.fetchmany, _ROWS_AT_ONCE)
                        yield chunk
                finally:
                    wait([ahead])
            start = end


def _full_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _ticks(moment: datetime) -> int:
    return (int(moment.timestamp()) - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND
