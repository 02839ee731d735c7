"""Records as sums: usage by minute, hour and day, endpoints, and when a key was last used.

========================  =====================  =========================================================
table                     a row for each         kept
========================  =====================  =========================================================
``usage_minutely``        minute, key            two days
``usage_hourly``          hour, key, endpoint    for ever
``usage_daily``           day (UTC), key         for ever
``endpoint_hourly``       hour, endpoint         for ever
========================  =====================  =========================================================

A page so never adds up much more than it shows: ``usage_daily`` tells of thirty days by a thirtieth of the
rows that the hours have, and ``endpoint_hourly`` of all keys by those of a few.

**The cap.** An endpoint is the client's own text, so of a key and an hour ``MOST_ENDPOINTS`` have a row of
their own, and so of an hour in ``endpoint_hourly``; what comes beyond is counted under ``OTHER``. Who comes
first has the room, and of those who come in one transaction the busiest. Both caps hold exactly: the drains
of several shards take turns at the endpoints, at the end of their transactions. Only where a change of
``REDIS_SHARDS`` has moved a key, and an old and a new drain copy its records at the same moment, could its
cap be passed, by what those two transactions bring.

**Order.** Every drain adds to the tables in one order, ``endpoint_hourly`` last, and to a table by time and
key, so that of two at the same rows one waits for the other.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from typing import Final, TypeVar

from psycopg2.extensions import cursor as DbCursor  # noqa: N812  # the class has a lower-case name

from . import sql
from .record import Record

MOST_ENDPOINTS: Final = 100
OTHER: Final = "(other)"
_ALLOWED: Final = 200
_REFUSED: Final = 403

Name = TypeVar("Name", int, str, tuple[int, str])

_Sums = list[int]
"""Allowed and limited requests, and what the allowed have cost."""


def add(db: DbCursor, records: Iterable[Record]) -> None:
    """Add records to all roll-ups, and to ``key_activity``; a refused key spends nothing, but is used."""
    usage, last_used = _by_minute(records)
    minutes: dict[datetime, dict[int, _Sums]] = {}
    hours: dict[datetime, dict[tuple[int, str], _Sums]] = defaultdict(dict)
    days: dict[date, dict[int, _Sums]] = defaultdict(dict)
    endpoints: dict[datetime, dict[str, _Sums]] = defaultdict(dict)
    for minute, of_minute in usage.items():
        hour = minute.replace(minute=0)
        of_keys: dict[int, _Sums] = {}
        of_hour, of_endpoints, of_day = hours[hour], endpoints[hour], days[minute.date()]
        for (key, endpoint), sums in of_minute.items():
            _put(of_keys, key, sums)
            _put(of_hour, (key, endpoint), sums)
            _put(of_endpoints, endpoint, sums)
        for key, sums in of_keys.items():
            _put(of_day, key, sums)
        minutes[minute] = of_keys
    for minute, of_keys in sorted(minutes.items()):
        db.execute(sql.ADD_MINUTE, [minute, *_columns((key, *sums) for key, sums in sorted(of_keys.items()))])
    for hour, of_hour in sorted(hours.items()):
        lines = ((key, sql.quoted(endpoint), *sums) for (key, endpoint), sums in of_hour.items())
        columns = zip(("keys", "endpoints", "allowed", "limited", "cost"), _columns(lines), strict=True)
        db.execute(sql.ADD_HOUR, {"hour": hour, "most": MOST_ENDPOINTS, "other": OTHER, **dict(columns)})
    for day, of_keys in sorted(days.items()):
        db.execute(sql.ADD_DAY, [day, *_columns((key, *sums) for key, sums in sorted(of_keys.items()))])
    if last_used:
        db.execute(sql.SET_LAST_USED, _columns(sorted(last_used.items())))
    _add_endpoints(db, endpoints)


def _by_minute(
    records: Iterable[Record],
) -> tuple[dict[datetime, dict[tuple[int, str], _Sums]], dict[int, datetime]]:
    """What keys did at endpoints, by minute; and when each key was last used."""
    usage: dict[datetime, dict[tuple[int, str], _Sums]] = {}
    last_used: dict[int, datetime] = {}
    when: datetime | None = None
    of_minute: dict[tuple[int, str], _Sums] = {}
    for key, endpoint, status_code, cost, _, _, timestamp, count, _, _, _ in records:
        last_used[key] = timestamp
        if status_code == _REFUSED:
            continue
        if timestamp is not when:  # the records of an entry share it
            when = timestamp
            of_minute = usage.setdefault(timestamp.replace(second=0, microsecond=0), {})
        sums = of_minute.get((key, endpoint))
        if sums is None:
            sums = of_minute[key, endpoint] = [0, 0, 0]
        if status_code == _ALLOWED:
            sums[0] += 1
            sums[2] += cost
        else:
            sums[1] += count
    return usage, last_used


def _add_endpoints(db: DbCursor, endpoints: dict[datetime, dict[str, _Sums]]) -> None:
    """Last of all: from here to the end of the transaction the drains of other shards wait."""
    if not endpoints:
        return
    db.execute(sql.HOLD_ENDPOINTS)
    # Statements of their own: what they see begins after the lock was had.
    for hour, of_hour in sorted(endpoints.items()):
        lines = ((sql.quoted(endpoint), *sums) for endpoint, sums in of_hour.items())
        columns = zip(("endpoints", "allowed", "limited", "cost"), _columns(lines), strict=True)
        db.execute(sql.ADD_ENDPOINTS, {"hour": hour, "most": MOST_ENDPOINTS, "other": OTHER, **dict(columns)})


def _put(merged: dict[Name, _Sums], name: Name, sums: _Sums) -> None:
    into = merged.get(name)
    if into is None:
        merged[name] = sums.copy()
    else:
        into[0] += sums[0]
        into[1] += sums[1]
        into[2] += sums[2]


def _columns(lines: Iterable[tuple[object, ...]]) -> list[str]:
    return [*map(sql.array, zip(*lines, strict=True))]
