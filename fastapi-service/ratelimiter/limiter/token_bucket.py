"""Token buckets in Redis: takes are gathered into batches, each decided by one script call."""

import asyncio
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from time import monotonic
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from ratelimiter import redis_keys
from ratelimiter.errors import LimiterUnavailable

from .clock import ServerClock
from .decision import Decision
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Policy

_SCRIPT: Final = (Path(__file__).parent / "token_bucket.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_NO_BUCKET: Final = Policy(capacity=0, requests_per_hour=1, interval=0)

MAX_BATCH: Final = 256
"""Takes a call carries at most: bounds how long one script holds Redis (some 3 ms)."""


@dataclass(slots=True)
class _Take:
    """One waiting take; ``future`` gets Redis's time and the script's answer."""

    bucket: str
    policy: Policy
    cost: int
    record: bytes
    deadline: float
    future: "asyncio.Future[tuple[int, int]]"


class TokenBucket:
    """The limiter's door: take, peek, refuse, reset.

    Every call raises ``LimiterUnavailable`` when Redis has not decided within ``timeout_seconds``
    of its arrival; nothing is retried, and a script that reaches Redis later does nothing.
    """

    def __init__(self, redis: "Redis", *, shards: int, timeout_seconds: float) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._shards = [_Shard(redis, shard) for shard in range(shards)]

    async def take(self, subject: int, policy: Policy, cost: int, record: bytes) -> Decision:
        """Spend ``cost`` tokens of the subject's bucket if it holds them, and record the outcome."""
        now, answer = await self._submit(subject, policy, cost, record)
        if answer >= 0:
            return Decision(True, policy, cost, now, answer)  # noqa: FBT003  # the hot path: by position
        return Decision(False, policy, cost, now, -1 - answer)  # noqa: FBT003  # the same

    async def peek(self, subject: int, policy: Policy, cost: int = 1) -> Decision:
        """What a take would answer now; nothing is spent and nothing recorded."""
        return await self.take(subject, policy, cost, b"")

    async def refuse(self, subject: int, record: bytes) -> None:
        """Record that a known key was refused; its bucket is not touched."""
        await self._submit(subject, _NO_BUCKET, 1, record)

    async def reset(self, subject: int) -> None:
        """Fill the subject's bucket."""
        shard = redis_keys.shard_of(subject, len(self._shards))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._redis.delete(redis_keys.bucket(shard, subject))
        except (RedisError, OSError) as exc:
            raise _unavailable() from exc

    def _submit(
        self, subject: int, policy: Policy, cost: int, record: bytes
    ) -> "asyncio.Future[tuple[int, int]]":
        shard = redis_keys.shard_of(subject, len(self._shards))
        future: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        deadline = monotonic() + self._timeout_seconds
        self._shards[shard].submit(
            _Take(redis_keys.bucket(shard, subject), policy, cost, record, deadline, future)
        )
        return future


class _Shard:
    """The takes of one shard: at most one script call in flight, the next gathers what arrives."""

    def __init__(self, redis: "Redis", shard: int) -> None:
        self._redis = redis
        self._clock = ServerClock(TICKS_PER_SECOND)
        self._fixed_keys = (redis_keys.stream(shard), redis_keys.stream_state(shard))
        self._waiting: list[_Take] = []
        self._sender: asyncio.Task[None] | None = None

    def submit(self, take: _Take) -> None:
        self._waiting.append(take)
        if self._sender is None:
            # The task starts in the loop's next turn, so all that arrives in this one goes along.
            self._sender = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._send(batch)
        except BaseException as exc:  # nobody may be left waiting, whatever went wrong
            _fail(self._waiting, exc)
            self._waiting = []
            raise
        finally:
            self._sender = None

    async def _send(self, batch: list[_Take]) -> None:
        """Decide a batch; its takes share the deadline of the oldest.

        A lost reply leaves the outcome unknown, and asking again could debit twice: the callers
        are told that there is no decision.
        """
        try:
            async with asyncio.timeout(batch[0].deadline - monotonic()):
                now, *answers = await self._decide(batch)
            for take, answer in zip(batch, answers, strict=True):
                if take.future.done():  # its client has gone
                    continue
                if answer is None:
                    take.future.set_exception(ValueError(f"the script refused {take.policy}, {take.cost}"))
                else:
                    take.future.set_result((now, answer))
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            _fail(batch, exc)
        except BaseException as exc:
            _fail(batch, exc)
            raise

    async def _decide(self, batch: list[_Take]) -> list[int]:
        """The script's reply, in time. Asking again is safe where the script did nothing."""
        keys = (*self._fixed_keys, *(take.bucket for take in batch))
        arguments: list[int | bytes] = []
        for take in batch:
            arguments += (take.policy.capacity, take.policy.interval, take.cost, take.record)
        while True:
            # Looked at here, not only by the timeout around this: a cancellation can get lost.
            if monotonic() >= batch[0].deadline:
                raise TimeoutError("the deadline of the batch has passed")
            if not self._clock.is_set:
                await self._ask_time()
            sent = monotonic()
            deadline = self._clock.at(batch[0].deadline)
            try:
                reply: list[int] = await self._redis.execute_command(  # type: ignore[no-untyped-call]  # redis-py's
                    "EVALSHA", _SHA, len(keys), *keys, deadline, *arguments
                )
            except NoScriptError:
                await self._redis.script_load(_SCRIPT)
                continue
            self._clock.observe(sent, monotonic(), reply[0])
            if len(reply) > 1:
                return reply
            # Too late by Redis's clock, though not by ours: the clock has jumped, and is known now.

    async def _ask_time(self) -> None:
        sent = monotonic()
        seconds, microseconds = await self._redis.time()
        ticks = (seconds - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND + microseconds * 16
        self._clock.observe(sent, monotonic(), ticks)


def _fail(batch: list[_Take], cause: BaseException) -> None:
    for take in batch:
        if not take.future.done():
            error = _unavailable()
            error.__cause__ = cause
            take.future.set_exception(error)


def _unavailable() -> LimiterUnavailable:
    return LimiterUnavailable("The limiter did not decide in time; try again.", {"Retry-After": "1"})
