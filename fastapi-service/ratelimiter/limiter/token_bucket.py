"""Token buckets in Redis."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Final, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ratelimiter import redis_keys
from ratelimiter.errors import IdempotencyKeyReused

from .batch import Answer, Arguments, away, unavailable
from .decision import Decision
from .denials import DenialCache
from .plan import NONE, Limits
from .policy import Policy
from .shard import MAX_APPENDED, Shard

ONCE_SECONDS: Final = 300
"""How long the answer to an idempotency key is remembered."""

_UNKNOWN: Final = b"unknown"
"""The script's answer where it does not know what is spent of a quota."""

SpentBefore = Callable[[int, Limits, int], Awaitable[Mapping[str, int]]]
"""What a subject has spent of each quota by name, in the period around a time in ticks."""


class Once(NamedTuple):
    """A client's idempotency key, and what is asked with it, as a number below 2^53."""

    key: str
    asked: int


class TokenBucket:
    """The limiter's door: take, peek, refuse, append, reset.

    Every call but ``append`` raises ``LimiterUnavailable`` when Redis has not decided within
    ``timeout_seconds`` of its arrival, and at once while Redis is known to be away; nothing is retried,
    and a script that reaches Redis later does nothing.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        shards: int,
        timeout_seconds: float,
        spent_before: SpentBefore | None = None,
    ) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._shards = [
            Shard(redis, shard, timeout_seconds, MAX_APPENDED // shards) for shard in range(shards)
        ]
        self._spent_before = spent_before
        self.denials: Final = DenialCache()

    async def take(
        self,
        subject: int,
        policy: Policy,
        cost: int,
        record: bytes,
        limits: Limits = NONE,
        once: Once | None = None,
    ) -> Decision:
        """Spend ``cost`` tokens of the subject's bucket if it holds them, and record the outcome.

        With further ``limits``, all are spent, or none is. What was admitted ``once`` with an idempotency
        key is answered the same again for ``ONCE_SECONDS``, and spends nothing.

        Raises:
            LimiterUnavailable: it was not decided in time.
            IdempotencyKeyReused: something else was asked with the idempotency key before.

        """
        asked, edition = monotonic(), self.denials.edition
        shard = self._shard(subject)
        if shard.is_away:
            raise away()
        bound = policy.interval if limits is NONE else limits.argument(policy.interval, shard.now())
        arguments = policy.capacity, bound, cost, record
        # Here, and not in a coroutine of its own, which would cost as much as all that is done for it.
        if once is None:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            shard.submit(asked + self._timeout_seconds, shard.bucket(subject), arguments, future)
            first, (now, answer) = 0, await future
        else:
            first, (now, answer) = await self._ask(asked, subject, arguments, once)
        if limits is NONE and once is None:
            if answer >= 0:  # type: ignore[operator]  # without further limits it is a number
                return Decision(True, policy, cost, now, answer)  # type: ignore[arg-type]  # noqa: FBT003  # the hot path: by position
            decision = Decision(False, policy, cost, now, -1 - answer)  # type: ignore[operator]  # noqa: FBT003  # the same
        else:
            if answer == _UNKNOWN:
                first, (now, answer) = await self._ask_knowing(subject, policy, cost, record, limits, once)
            decision = _decision(policy, cost, limits, first, now, answer)
            if decision.allowed:
                return decision
        self.denials.remember(subject, decision, asked, edition)
        return decision

    async def peek(
        self,
        subject: int,
        policy: Policy,
        cost: int = 1,
        limits: Limits = NONE,
        once: Once | None = None,
    ) -> Decision:
        """What a take would answer now; nothing is spent, recorded, or remembered."""
        return await self.take(subject, policy, cost, b"", limits, once)

    async def _ask_knowing(
        self, subject: int, policy: Policy, cost: int, record: bytes, limits: Limits, once: Once | None
    ) -> tuple[int, Answer]:
        """Ask again, and tell what the subject has spent of its quotas, which Redis does not know."""
        if self._spent_before is None:
            raise unavailable()
        shard = self._shard(subject)
        spent = await self._spent_before(subject, limits, shard.now())
        plan = limits.argument(policy.interval, shard.now(), spent)
        # Not the caller's time: it is PostgreSQL that was asked, once a key and period.
        first, reply = await self._ask(monotonic(), subject, (policy.capacity, plan, cost, record), once)
        if reply[1] == _UNKNOWN:
            raise unavailable()
        return first, reply

    async def _ask(
        self, asked: float, subject: int, take: Arguments, once: Once | None
    ) -> tuple[int, Answer]:
        """The answers for an idempotency key (0: there is none) and for a take."""
        loop, shard = asyncio.get_running_loop(), self._shard(subject)
        deadline = asked + self._timeout_seconds
        future: asyncio.Future[Answer] = loop.create_future()
        if once is None:
            shard.submit(deadline, shard.bucket(subject), take, future)
            return 0, await future
        remembered: asyncio.Future[Answer] = loop.create_future()
        remember = ONCE_SECONDS * 1000, once.asked, 1, b"="
        shard.submit_both(
            deadline,
            (
                (shard.once(subject, once.key), remember, remembered),
                (shard.bucket(subject), take, future),
            ),
        )
        (_, first), answer = await asyncio.gather(remembered, future)
        return cast("int", first), answer

    async def refuse(self, subject: int, record: bytes) -> None:
        """Record that a known key was refused; its bucket is not touched."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        shard = self._shard(subject)
        if shard.is_away:
            raise away()
        shard.submit(monotonic() + self._timeout_seconds, shard.no_bucket, (0, b"403", 1, record), future)
        await future

    def append(self, subject: int, record: bytes, outcome: bytes) -> None:
        """Record an outcome that was decided here, within ``GATHER_SECONDS``; nobody waits for it.

        While Redis is away it is kept, with its time; it is lost, and counted as dropped, if ``MAX_APPENDED``
        wait already. If a call that carried it brought no reply it is sent again.
        """
        self._shard(subject).append((0, outcome, 1, record))

    async def reset(self, subject: int, limits: Limits = NONE) -> None:
        """Fill the subject's buckets; of the quotas among its limits none is spent in their periods."""
        shard = self._shard(subject)
        name, now = shard.bucket(subject), shard.now()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if limits.has_quotas:  # written: without a level it would be asked for what was spent
                    await self._redis.set(name, limits.full(now), px=limits.milliseconds_left(now))
                else:
                    await self._redis.delete(name)
        except (RedisError, OSError) as exc:
            raise unavailable() from exc
        finally:
            self.denials.clear()

    async def flush(self) -> None:
        """Send what was appended; what Redis does not take within ``timeout_seconds`` is dropped."""
        await asyncio.gather(*(shard.flush() for shard in self._shards))

    async def stop(self) -> None:
        """Flush, and look for Redis no more: what is asked while there is no connection has no decision."""
        await self.flush()
        await asyncio.gather(*(shard.stop() for shard in self._shards))

    def _shard(self, subject: int) -> Shard:
        return self._shards[redis_keys.shard_of(subject, len(self._shards))]


def _decision(
    policy: Policy, cost: int, limits: Limits, first: int, now: int, answer: int | bytes
) -> Decision:
    """What the script answers of a plan, or for an idempotency key: ``first``, as the script has it."""
    if first < 0:
        raise IdempotencyKeyReused("The idempotency key was used with another request before.")
    answers = limits.read(answer) if isinstance(answer, bytes) else (answer,)
    default, others = answers[0], answers[1:]
    if not others:  # of what an idempotency key remembers, where the limits are others by now
        limits = NONE
    allowed = min(answers) >= 0 or (default >= 0 and limits.admit(others))
    # The answer that is replayed may be of higher limits than there are by now.
    held = min(default if default >= 0 else -1 - default, policy.refill_ticks)
    return Decision(allowed, policy, cost, first or now, held, limits, others, first > 0)
