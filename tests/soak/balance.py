"""Answers are rows: for every key, endpoint and stage, but for what the faults of that stage explain.

An account is a key and an endpoint, which names the stage; a refused key's body is not read, so its rows name
``/api/request``. In each account::

    rows = answered - lost + recorded without an answer

``lost`` is nothing but where a fault may have taken records with it: those that stood in the file of a Redis
that came back empty, and no more than the answers of the seconds that a fault may forget. What was recorded
without an answer is no more than what was asked and brought none.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.faults.load import DECIDED, SPEND_PATH, Answer
from tests.faults.rig import Rig

from .bounds import Window

Account = tuple[int, str]
REFUSED: Final = 403
OF_ITS_FILE: Final = "in the file of the Redis that came back empty"


@dataclass(frozen=True)
class Loss:
    """Answers of such statuses may lack their rows if they were given in the window."""

    reason: str
    window: Window
    statuses: frozenset[int] = DECIDED

    def holds(self, answer: Answer) -> bool:
        """Whether this answer's row may be lacking."""
        return answer.status in self.statuses and self.window.holds(answer)


@dataclass(frozen=True)
class Balance:
    """Decisions answered, rows by their counts, and what lies between; ``unexplained`` should be empty."""

    answered: int
    rows: int
    lost: Mapping[str, int]
    recorded_without_answer: int
    unexplained: tuple[str, ...]


def rows_of(rig: Rig, key_ids: Iterable[int]) -> dict[Account, int]:
    """The sum of counts of each account."""
    found = rig.sql(
        "SELECT api_key_id, endpoint, sum(count) FROM request_log WHERE api_key_id = ANY(%s) GROUP BY 1, 2",
        list(key_ids),
    )
    return {(key_id, endpoint): int(count) for key_id, endpoint, count in found}


def unequal_usage(rig: Rig) -> int:
    """How many hours of a key at an endpoint have other totals in ``usage_hourly`` than in the log."""
    [(unequal,)] = rig.sql("""
        SELECT count(*) FROM (
            SELECT api_key_id, endpoint, date_trunc('hour', "timestamp", 'UTC') AS hour,
                coalesce(sum(count) FILTER (WHERE status_code = 200), 0) AS allowed,
                coalesce(sum(count) FILTER (WHERE status_code = 429), 0) AS limited,
                coalesce(sum(cost) FILTER (WHERE status_code = 200), 0) AS cost
            FROM request_log WHERE status_code <> 403 GROUP BY 1, 2, 3
        ) AS of_log
        FULL JOIN usage_hourly AS hourly USING (api_key_id, endpoint, hour)
        WHERE (of_log.allowed, of_log.limited, of_log.cost)
            IS DISTINCT FROM (hourly.allowed::numeric, hourly.limited::numeric, hourly.cost::numeric)
    """)
    return int(unequal)


def balance(
    answers: Iterable[Answer],
    ids: Mapping[str, int],
    rows: Mapping[Account, int],
    losses: Sequence[Loss],
    held: Mapping[Account, int],
) -> Balance:
    """Compare; ``ids`` are the keys' numbers, ``held`` what an emptied Redis had and no log has."""
    booked: Counter[Account] = Counter()
    unheard: Counter[Account] = Counter()
    may_lack: dict[Account, Counter[str]] = {}
    for answer in answers:
        key_id = ids.get(answer.key)
        if key_id is None or not answer.request.is_spending:
            continue
        account = (key_id, SPEND_PATH if answer.status == REFUSED else answer.request.endpoint)
        unheard[key_id, answer.request.endpoint] += answer.unheard
        if answer.status not in DECIDED:
            continue
        booked[account] += 1
        for loss in losses:
            if loss.holds(answer):
                may_lack.setdefault(account, Counter())[loss.reason] += 1
    lost: Counter[str] = Counter()
    surplus, unexplained = 0, []
    for account in sorted({*booked, *rows}):
        lacking = booked[account] - rows.get(account, 0)
        reasons = {OF_ITS_FILE: held.get(account, 0)} | may_lack.get(account, {})
        for reason, most in reasons.items():
            part = max(0, min(lacking, most))
            lost[reason] += part
            lacking -= part
        more = max(0, min(-lacking, _may_be_more(account, unheard)))
        surplus += more
        if lacking + more:
            unexplained.append(_told(account, booked[account], rows.get(account, 0), lacking + more))
    return Balance(
        answered=booked.total(),
        rows=sum(rows.values()),
        lost={reason: count for reason, count in lost.items() if count},
        recorded_without_answer=surplus,
        unexplained=tuple(unexplained),
    )


def _may_be_more(account: Account, unheard: Mapping[Account, int]) -> int:
    """Where a key was refused without an answer, its row names another endpoint than was asked for."""
    key_id, endpoint = account
    if endpoint != SPEND_PATH:
        return unheard.get(account, 0)
    return sum(count for (asked, _), count in unheard.items() if asked == key_id)


def _told(account: Account, answered: int, rows: int, lacking: int) -> str:
    key_id, endpoint = account
    what = f"{lacking} rows lack" if lacking > 0 else f"{-lacking} rows too many"
    return f"key {key_id} at {endpoint}: {answered} answered, {rows} in the log, {what} unexplained"
