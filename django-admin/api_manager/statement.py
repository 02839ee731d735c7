"""What each owner owes for a month: a line for each key, tier and price, exact to the request.

Drawn from ``usage_hourly`` and the notes that triggers keep of prices and keys' terms (``tier_price``,
``key_terms``): an edit of today changes no statement of a month that is over, and the log's retention none at
all. The rules:

- A request counts that was allowed; what it cost in tokens does not matter, and a denied one is free.
- A month is one of UTC. What is changed holds from the next full hour on, since usage is known by the hour.
- A chain of rotations is one key, under the number of its first; its tier and owner are those of its newest.
- The month's price is paid for each hour that the key was there: from the hour in which it was issued to the
  one in which it expired or was revoked. A paused key is there. Of hours that lie ahead it is taken that
  nothing changes.
- The included requests are those of a key, an owner and a month, as they come: whatever the tier was, all
  count, and each beyond the number that is included in its hour costs that hour's price.
- A line is rounded once, half to even, to the currency's minor unit; a total is the sum of its lines.
- What belonged to an erased owner stays one statement, of ``erased-7``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Final, Self

from django.conf import settings
from django.db import connection

from config.currency import MINOR_DIGITS

from . import pipeline
from .chain import CHAINS
from .models import FIRST_MOMENT, LAST_MOMENT, KeyTerms

# Apart from the lines: PostgreSQL takes these for few, and would look through all keys for each of them.
# Without the cast it would compare each key with each number in turn: 100,000 keys took 20 s.
_NEWEST: Final = f"""
{CHAINS}
SELECT DISTINCT ON (chain_id) chain_id, key.name, key.hint
FROM chain JOIN api_key AS key ON key.id = chain.key_id
WHERE chain_id = ANY(%s::bigint[])
ORDER BY chain_id, key.id DESC
"""  # noqa: S608  # ours

# ``starts`` and ``until`` are full hours. Of a first note the time before belongs to it, too: Redis, whose
# clock dates requests, may be a little behind PostgreSQL's. greatest and least pass over NULL: so there is
# nothing beyond the included where all are.
_LINES: Final = f"""
{CHAINS}, noted_terms AS (
    SELECT *, row_number() OVER (PARTITION BY chain_id ORDER BY valid_from, id) = 1 AS is_first,
           date_trunc('hour', valid_from, 'UTC') AS began,
           date_trunc('hour', valid_from + interval '1 hour' - interval '1 microsecond', 'UTC') AS next_hour
    FROM key_terms
), terms AS (
    SELECT *, CASE WHEN is_first THEN '-infinity' ELSE next_hour END AS starts,
           CASE WHEN is_first THEN began ELSE next_hour END AS paid_from,
           date_trunc('hour', ends_at + interval '1 hour' - interval '1 microsecond', 'UTC') AS paid_until,
           lead(next_hour, 1, 'infinity') OVER (PARTITION BY chain_id ORDER BY valid_from, id) AS until
    FROM noted_terms
), noted_prices AS (
    SELECT *, row_number() OVER (PARTITION BY tier_id ORDER BY valid_from, id) = 1 AS is_first,
           date_trunc('hour', valid_from + interval '1 hour' - interval '1 microsecond', 'UTC') AS next_hour
    FROM tier_price
), prices AS (
    SELECT *, CASE WHEN is_first THEN '-infinity' ELSE next_hour END AS starts,
           lead(next_hour, 1, 'infinity') OVER (PARTITION BY tier_id ORDER BY valid_from, id) AS until
    FROM noted_prices
), span AS (
    SELECT row_number() OVER () AS number, terms.chain_id, terms.owner_email, prices.tier_name,
           prices.price_per_month, prices.price_per_thousand, prices.included_requests,
           greatest(terms.starts, prices.starts, %(start)s) AS starts,
           least(terms.until, prices.until, %(end)s) AS until,
           greatest(terms.paid_from, prices.starts, %(start)s) AS paid_from,
           least(terms.until, prices.until, terms.paid_until, %(end)s) AS paid_until
    FROM terms JOIN prices USING (tier_id)
    WHERE greatest(terms.starts, prices.starts, %(start)s) < least(terms.until, prices.until, %(end)s)
        AND (%(owner)s IS NULL OR terms.owner_email = %(owner)s)
), used AS (
    SELECT chain.chain_id, usage.hour, sum(usage.allowed) AS requests
    FROM usage_hourly AS usage JOIN chain ON chain.key_id = usage.api_key_id
    WHERE usage.hour >= %(start)s AND usage.hour < %(end)s
        AND (%(owner)s IS NULL OR chain.chain_id IN (SELECT chain_id FROM span))
    GROUP BY chain.chain_id, usage.hour
), placed AS (
    SELECT span.number, span.included_requests, used.requests,
           sum(used.requests) OVER (PARTITION BY span.chain_id, span.owner_email ORDER BY used.hour) AS so_far
    FROM used JOIN span
        ON span.chain_id = used.chain_id AND used.hour >= span.starts AND used.hour < span.until
), counted AS (
    SELECT number, sum(requests) AS requests,
           sum(greatest(so_far - included_requests, 0) - greatest(so_far - requests - included_requests, 0))
               AS extra
    FROM placed GROUP BY number
), line AS (
    SELECT owner_email, chain_id, tier_name, price_per_month, price_per_thousand, included_requests,
           min(starts) AS starts,
           sum(greatest(extract(epoch FROM paid_until - paid_from) / 3600, 0)) AS hours,
           coalesce(sum(requests), 0) AS requests, coalesce(sum(extra), 0) AS extra
    FROM span LEFT JOIN counted USING (number)
    GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT owner_email, chain_id, tier_name, price_per_month, price_per_thousand, included_requests,
       hours, requests, extra
FROM line
WHERE requests > 0 OR (hours > 0 AND price_per_month > 0)
ORDER BY owner_email, chain_id, starts, tier_name, price_per_month, price_per_thousand, included_requests
"""  # noqa: S608  # ours


@dataclass(frozen=True, order=True)
class Month:
    """A month of UTC."""

    year: int
    number: int

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """The month of a moment."""
        moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The month that is written ``2026-10``; ValueError for any other text."""
        year, dash, number = text.partition("-")
        if dash and len(text) == len("2026-10") and text.isascii() and f"{year}{number}".isdecimal():
            month = cls(int(year), int(number))
            if 1 <= month.number <= 12 and FIRST_MOMENT.year <= month.year < LAST_MOMENT.year:  # noqa: PLR2004  # of a year
                return month
        raise ValueError(f"{text!r} is no month; expected one such as 2026-10")

    def __str__(self) -> str:
        return f"{self.year}-{self.number:02}"

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.number, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The first moment that is not in it."""
        return self.next.start

    @property
    def next(self) -> "Month":
        """The month after it."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def hours(self) -> int:
        """How many it has."""
        return int((self.end - self.start).total_seconds()) // 3600


@dataclass(frozen=True)
class Line:
    """What a key costs of a month, as long as its tier and the tier's prices stayed the same.

    ``key`` is the number of the first key of its chain, name and hint are the newest's of today. ``extra``
    are the requests beyond the included, which are None where all are.
    """

    owner: str
    key: int
    key_name: str
    key_hint: str
    tier: str
    price_per_month: Decimal
    price_per_thousand: Decimal
    included: int | None
    hours: int
    requests: int
    extra: int
    amount: Decimal


@dataclass(frozen=True)
class Statement:
    """The lines of an owner and month; no owner is ''."""

    owner: str
    lines: tuple[Line, ...]

    @property
    def requests(self) -> int:
        """All that were allowed."""
        return sum(line.requests for line in self.lines)

    @property
    def extra(self) -> int:
        """Those beyond the included."""
        return sum(line.extra for line in self.lines)

    @property
    def amount(self) -> Decimal:
        """The sum of the lines."""
        return total(self.lines)


def draw(month: Month, owner: str | None = None) -> list[Statement]:
    """The statements of a month: of all owners in the order of their addresses, or of one.

    Owners who used nothing and owe nothing have none.
    """
    lines = _lines(month, None if owner is None else owner.lower())
    return [Statement(name, tuple(theirs)) for name, theirs in groupby(lines, lambda line: line.owner)]


def is_final(month: Month) -> bool:
    """Whether every request of a month has been counted: the drain has copied one that came after it.

    What was decided without Redis is recorded when Redis is back, and may so come later still.
    """
    copied_until = pipeline.copied_until()
    return copied_until is not None and copied_until >= month.end


def months(now: datetime) -> list[Month]:
    """The months since the first key, the present one first."""
    first = KeyTerms.objects.order_by("valid_from").values_list("valid_from", flat=True).first()
    month, last = Month.of(min(first or now, now)), Month.of(now)
    found = [month]
    while month < last:
        month = month.next
        found.append(month)
    return found[::-1]


def total(lines: Iterable[Line]) -> Decimal:
    """The sum of amounts, with the digits of the currency also where there are none."""
    return sum((line.amount for line in lines), amount(Fraction(0)))


def amount(exact: Fraction) -> Decimal:
    """An amount rounded, half to even, to the currency's minor unit."""
    digits = MINOR_DIGITS[settings.CURRENCY]
    return Decimal(f"{round(exact * 10**digits)}E-{digits}")


def _lines(month: Month, owner: str | None) -> Iterator[Line]:
    with connection.cursor() as cursor:
        cursor.execute(_LINES, {"start": month.start, "end": month.end, "owner": owner})
        rows = cursor.fetchall()
        cursor.execute(_NEWEST, [list({key for _, key, *_ in rows})])
        newest = {key: (name, hint) for key, name, hint in cursor.fetchall()}
    hours_of_month = month.hours
    for whose, key, tier, per_month, per_thousand, included, hours, requests, extra in rows:
        exact = Fraction(per_month) * Fraction(hours) / hours_of_month
        exact += Fraction(per_thousand) * Fraction(extra) / 1000
        yield Line(
            owner=whose,
            key=key,
            key_name=newest[key][0],
            key_hint=newest[key][1],
            tier=tier,
            price_per_month=per_month,
            price_per_thousand=per_thousand,
            included=included,
            hours=int(hours),
            requests=int(requests),
            extra=int(extra),
            amount=amount(exact),
        )
