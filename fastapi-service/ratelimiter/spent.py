"""What a quota had spent in its period before Redis lost its data, from the roll-up that the drain keeps.

The limiter asks when Redis knows no level of a quota, and began after the quota's period did, or the key or
its tier was edited since: a quota that is added in the middle of a period counts from the period's begin. It
asks once a key and period, unless Redis loses its data again. Whoever asks at the same time shares a query;
there are 20 a second at most, each for 256 keys at most, and who comes beyond that is told at once that it is
not known.

**Bounds.** What was admitted and did not get into the roll-up is granted anew: what waited in a stream that
was lost with Redis (a second or so, while the drain keeps up), and of a quota for endpoints under a prefix
what was counted under ``rollups.OTHER``, where a key used over ``rollups.MOST_ENDPOINTS`` endpoints in an
hour.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from . import metrics
from .errors import LimiterUnavailable
from .limiter.plan import Limits
from .limiter.policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND

TIMEOUT_SECONDS: Final = 2.0
INTERVAL_SECONDS: Final = 0.05
"""From the start of a query to the next one's."""
MAX_WAITING: Final = 256
"""Keys that wait to be asked for, or are."""
THREADS: Final = 2
"""Where PostgreSQL holds a query for longer than its timeout, the next one goes on in another."""
MOST: Final = 2**52
"""Beyond it the script's numbers would end; no quota has so much."""

# Subqueries, because they are always looked up in an index (keys.store).
_QUERY: Final = text(
    """
    WITH RECURSIVE asked AS (
        SELECT * FROM unnest(
            CAST(:subjects AS bigint[]), CAST(:begins AS timestamptz[]), CAST(:prefixes AS text[])
        ) WITH ORDINALITY AS asked (subject, began_at, prefix, number)
    ), chain (subject, id) AS (
        SELECT DISTINCT subject, subject FROM asked
        UNION
        SELECT subject, (SELECT key.id FROM api_key AS key WHERE key.replaces_id = chain.id)
        FROM chain WHERE id IS NOT NULL
    )
    SELECT coalesce(sum((
        SELECT sum(usage.cost) FROM usage_hourly AS usage
        WHERE usage.api_key_id = chain.id AND usage.hour >= asked.began_at
            AND starts_with(usage.endpoint, asked.prefix)
    )), 0)
    FROM asked JOIN chain USING (subject)
    GROUP BY asked.number ORDER BY asked.number
    """
)

_Asked = tuple[int, tuple[tuple[str, str, int], ...]]
"""A subject, and of each of its quotas the name, the prefix, and when its period began, in Unix seconds."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class SpentBefore:
    """Knows what the keys of a chain of rotations have spent of quotas; lives in one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="spent")
        self._waiting: dict[_Asked, asyncio.Future[Mapping[str, int]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, subject: int, limits: Limits, now: int) -> Mapping[str, int]:
        """What a subject has spent of each quota, by name, in the period around a time in ticks.

        Raises:
            LimiterUnavailable: PostgreSQL does not tell in time, or too many ask.

        """
        quotas = tuple(
            (limit.name, limit.prefix, TICKS_EPOCH_SECONDS + quota.period.around(now)[0] // TICKS_PER_SECOND)
            for limit, quota in limits.quotas
        )
        asked = subject, quotas
        answer = self._waiting.get(asked) or self._ask_soon(asked)
        try:
            # Shielded: the answer belongs to all who wait for it.
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await asyncio.shield(answer)
        except (SQLAlchemyError, TimeoutError) as exc:
            metrics.QUOTA_LOOKUPS.labels("failed").inc()
            raise _unknown() from exc

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask_soon(self, asked: _Asked) -> "asyncio.Future[Mapping[str, int]]":
        if len(self._waiting) >= MAX_WAITING:
            metrics.QUOTA_LOOKUPS.labels("failed").inc()
            raise _unknown()
        loop = asyncio.get_running_loop()
        answer = self._waiting[asked] = loop.create_future()
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_all())
        return answer

    async def _ask_all(self) -> None:
        """Ask together for what came meanwhile, until nothing did."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            next_query = monotonic() + INTERVAL_SECONDS
            waiting = dict(self._waiting)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    found = await loop.run_in_executor(self._threads, self._read, list(waiting))
            except Exception as exc:  # noqa: BLE001  # whatever it was, it is theirs who wait
                log.warning("quotas_not_known", keys=len(waiting), error=str(exc.__cause__ or exc).strip())
                for answer in waiting.values():
                    answer.set_exception(exc)
                    answer.exception()  # whoever still waits has it; nobody need be told that nobody does
            else:
                for answer, spent in zip(waiting.values(), found, strict=True):
                    answer.set_result(spent)
                metrics.QUOTA_LOOKUPS.labels("known").inc(len(waiting))
            for asked in waiting:
                del self._waiting[asked]
            await asyncio.sleep(max(0.0, next_query - monotonic()))

    def _read(self, all_asked: Sequence[_Asked]) -> list[Mapping[str, int]]:
        lines = [(subject, *quota) for subject, quotas in all_asked for quota in quotas]
        parameters = {
            "subjects": [subject for subject, *_ in lines],
            "begins": [datetime.fromtimestamp(begin, UTC) for *_, begin in lines],
            "prefixes": [prefix for _, _, prefix, _ in lines],
        }
        with self._engine.connect() as connection:
            sums = iter(connection.scalars(_QUERY, parameters).all())
        return [{name: min(int(next(sums)), MOST) for name, *_ in quotas} for _, quotas in all_asked]


def _unknown() -> LimiterUnavailable:
    return LimiterUnavailable("What the quota has spent is not known now; try again.", {"Retry-After": "2"})
