"""Whose key leaked? From which addresses a key was used, and at which endpoints.

Read from the key's newest rows within a range, a bounded number of them: the page says how many they were and
how far back they go. A row may stand for several denials; requests are counted, not rows.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from .criteria import Span

MOST_ROWS: Final = 5_000
"""Rows looked at: what PostgreSQL groups in some 10 ms."""
SHOWN: Final = 100
"""Of the addresses, and of the endpoints: those with the most requests."""

_ORIGINS: Final = """
    WITH looked AS MATERIALIZED (
        SELECT client_ip AS address, endpoint COLLATE "C" AS endpoint, "timestamp", count, status_code
        FROM request_log
        WHERE api_key_id = %(key)s AND "timestamp" >= %(start)s AND "timestamp" < %(end)s
        ORDER BY "timestamp" DESC LIMIT %(most)s
    ), grouped AS (
        SELECT grouping(address, endpoint) AS level, address, endpoint, sum(count) AS requests,
            coalesce(sum(count) FILTER (WHERE status_code = 200), 0) AS allowed,
            min("timestamp") AS first, max("timestamp") AS last, count(*) AS rows
        FROM looked GROUP BY GROUPING SETS ((address), (endpoint), ())
    ), ranked AS (
        SELECT *, count(*) OVER level AS groups,
            row_number() OVER (
                PARTITION BY level ORDER BY requests DESC, last DESC, address, endpoint
            ) AS place
        FROM grouped WINDOW level AS (PARTITION BY level)
    )
    SELECT level, coalesce(host(address), endpoint, ''), requests, allowed, first, last, rows, groups
    FROM ranked WHERE place <= %(shown)s ORDER BY level, place
"""
_BY_ADDRESS: Final = 1
_BY_ENDPOINT: Final = 2


@dataclass(frozen=True)
class Use:
    """How a key was used from an address, or at an endpoint; an empty name: the address was not kept."""

    name: str
    requests: int
    allowed: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Origins:
    """Of the ``rows`` looked at the addresses and endpoints with the most requests, and how many there are.

    ``is_whole``: whether these are all rows of the range.
    """

    addresses: list[Use]
    endpoints: list[Use]
    address_count: int
    endpoint_count: int
    rows: int
    since: datetime | None

    @property
    def is_whole(self) -> bool:
        """Whether no row of the range was left out."""
        return self.rows < MOST_ROWS


def of_key(key_id: int, span: Span) -> Origins:
    """Where a key was used."""
    with connection.cursor() as cursor:
        cursor.execute(
            _ORIGINS,
            {"key": key_id, "start": span.start, "end": span.end, "most": MOST_ROWS, "shown": SHOWN},
        )
        found = cursor.fetchall()
    addresses = [row for row in found if row[0] == _BY_ADDRESS]
    endpoints = [row for row in found if row[0] == _BY_ENDPOINT]
    [*_, first, _last, rows, _groups] = found[-1]  # of all: the last level
    return Origins(
        [Use(*row[1:6]) for row in addresses],
        [Use(*row[1:6]) for row in endpoints],
        addresses[0][-1] if addresses else 0,
        endpoints[0][-1] if endpoints else 0,
        rows,
        first,
    )
