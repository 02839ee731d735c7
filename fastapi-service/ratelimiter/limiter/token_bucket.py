"""Token buckets in Redis: takes are gathered into batches, each decided by one script call."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from time import monotonic
from typing import Any, Final

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from ratelimiter import metrics, redis_keys
from ratelimiter.errors import LimiterUnavailable

from .clock import ServerClock
from .decision import Decision
from .denials import DenialCache
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND, Policy

_SCRIPT: Final = (Path(__file__).parent / "token_bucket.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

MAX_BATCH: Final = 256
"""Takes a call carries at most: bounds how long one script holds Redis (some 3 ms)."""

GATHER_SECONDS: Final = 0.05
"""How long an outcome that nobody waits for may wait for others to share a call with."""

_Answer = tuple[int, int]
"""Redis's time, and the script's answer."""


class TokenBucket:
    """The limiter's door: take, peek, refuse, append, reset.

    Every call but ``append`` raises ``LimiterUnavailable`` when Redis has not decided within
    ``timeout_seconds`` of its arrival; nothing is retried, and a script that reaches Redis later
    does nothing.
    """

    def __init__(self, redis: "Redis", *, shards: int, timeout_seconds: float) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._shards = [_Shard(redis, shard) for shard in range(shards)]
        self.denials: Final = DenialCache()

    async def take(self, subject: int, policy: Policy, cost: int, record: bytes) -> Decision:
        """Spend ``cost`` tokens of the subject's bucket if it holds them, and record the outcome."""
        asked, edition = monotonic(), self.denials.edition
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        shard = self._shard(subject)
        arguments = policy.capacity, policy.interval, cost, record
        shard.submit(asked + self._timeout_seconds, shard.bucket(subject), arguments, future)
        now, answer = await future
        if answer >= 0:
            return Decision(True, policy, cost, now, answer)  # noqa: FBT003  # the hot path: by position
        decision = Decision(False, policy, cost, now, -1 - answer)  # noqa: FBT003  # the same
        self.denials.remember(subject, decision, asked, edition)
        return decision

    async def peek(self, subject: int, policy: Policy, cost: int = 1) -> Decision:
        """What a take would answer now; nothing is spent and nothing recorded."""
        return await self.take(subject, policy, cost, b"")

    async def refuse(self, subject: int, record: bytes) -> None:
        """Record that a known key was refused; its bucket is not touched."""
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        shard = self._shard(subject)
        shard.submit(monotonic() + self._timeout_seconds, shard.no_bucket, (0, "403", 1, record), future)
        await future

    def append(self, subject: int, record: bytes, outcome: bytes) -> None:
        """Record an outcome that was decided here, within ``GATHER_SECONDS``; nobody waits for it.

        What Redis does not take in time is lost, and counted as dropped.
        """
        shard = self._shard(subject)
        deadline = monotonic() + GATHER_SECONDS + self._timeout_seconds
        shard.submit(deadline, shard.no_bucket, (0, outcome, 1, record), None)

    async def reset(self, subject: int) -> None:
        """Fill the subject's bucket."""
        shard = redis_keys.shard_of(subject, len(self._shards))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._redis.delete(redis_keys.bucket(shard, subject))
        except (RedisError, OSError) as exc:
            raise _unavailable() from exc
        finally:
            self.denials.clear()

    async def flush(self) -> None:
        """Wait until all that was submitted has been sent, or has failed."""
        for shard in self._shards:
            await shard.flush()

    def _shard(self, subject: int) -> "_Shard":
        return self._shards[redis_keys.shard_of(subject, len(self._shards))]


@dataclass(slots=True)
class _Batch:
    """What shares a script call, the earliest deadline of it, and whether somebody waits for it.

    In lists beside each other: an object for each take would cost more than its share of the call.
    """

    deadline: float
    is_awaited: bool = False
    keys: list[str] = field(default_factory=list)
    arguments: list[int | str | bytes] = field(default_factory=list)
    futures: "list[asyncio.Future[_Answer] | None]" = field(default_factory=list)


class _Shard:
    """The takes of one shard: at most one script call in flight, the next gathers what arrives."""

    def __init__(self, redis: "Redis", shard: int) -> None:
        self.no_bucket: Final = redis_keys.stream_state(shard)
        """Stands where the script expects a bucket's name, for what asks none."""
        self._redis = redis
        self._shard = shard
        self._connection: AbstractConnection | None = None
        self._clock = ServerClock(TICKS_PER_SECOND)
        self._fixed_keys = (redis_keys.stream(shard), redis_keys.stream_state(shard))
        self._waiting: deque[_Batch] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def bucket(self, subject: int) -> str:
        return redis_keys.bucket(self._shard, subject)

    def submit(
        self,
        deadline: float,
        key: str,
        arguments: tuple[int | str | bytes, ...],
        future: "asyncio.Future[_Answer] | None",
    ) -> None:
        waiting = self._waiting
        if waiting and len(waiting[-1].futures) < MAX_BATCH:
            batch = waiting[-1]
        else:
            batch = _Batch(deadline)
            waiting.append(batch)
        batch.keys.append(key)
        batch.arguments += arguments
        batch.futures.append(future)
        if future is not None:
            batch.is_awaited = True
            batch.deadline = min(batch.deadline, deadline)
        if self._sender is None:
            self._schedule()

    async def flush(self) -> None:
        while self._waiting or self._sender is not None:
            if self._sender is None:
                self._start()
            if self._sender is not None:
                await asyncio.wait([self._sender])

    def _schedule(self) -> None:
        """See that what waits is sent: now if somebody waits for it or it fills a call, else soon."""
        if self._is_due():
            self._start()
        elif self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._start)

    def _is_due(self) -> bool:
        return bool(self._waiting) and (self._waiting[0].is_awaited or len(self._waiting) > 1)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sender is None:
            # The task starts in the loop's next turn, so all that arrives in this one goes along.
            self._sender = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            if self._waiting:
                await self._send(self._waiting.popleft())
            while self._is_due():
                await self._send(self._waiting.popleft())
        except BaseException as exc:  # nobody may be left waiting, whatever went wrong
            for batch in self._waiting:
                _fail(batch, exc)
            self._waiting.clear()
            raise
        finally:
            self._sender = None
            self._schedule()

    async def _send(self, batch: _Batch) -> None:
        """Decide a batch; its takes share the deadline of the oldest.

        A lost reply leaves the outcome unknown, and asking again could debit twice: the callers
        are told that there is no decision.
        """
        try:
            async with asyncio.timeout(batch.deadline - monotonic()):
                now, *answers = await self._decide(batch)
        except (RedisError, OSError) as exc:  # TimeoutError is an OSError
            _fail(batch, exc)
        except BaseException as exc:
            _fail(batch, exc)
            raise
        else:
            for index, (future, answer) in enumerate(zip(batch.futures, answers, strict=True)):
                if future is None or future.done():  # its client has gone
                    continue
                if answer is None:
                    refused = batch.arguments[4 * index : 4 * index + 3]
                    future.set_exception(ValueError(f"the script refused {refused}"))
                else:
                    future.set_result((now, answer))

    async def _decide(self, batch: _Batch) -> list[int]:
        """The script's reply, in time. Asking again is safe where the script did nothing."""
        keys = (*self._fixed_keys, *batch.keys)
        while True:
            # Looked at here, not only by the timeout around this: a cancellation can get lost.
            if monotonic() >= batch.deadline:
                raise TimeoutError("the deadline of the batch has passed")
            if not self._clock.is_set:
                await self._ask_time()
            sent = monotonic()
            deadline = self._clock.at(batch.deadline)
            try:
                reply: list[int] = await self._execute(
                    ("EVALSHA", _SHA, len(keys), *keys, deadline, *batch.arguments)
                )
            except NoScriptError:
                await self._redis.script_load(_SCRIPT)
                continue
            self._clock.observe(sent, monotonic(), reply[0])
            if len(reply) > 1:
                return reply
            # Too late by Redis's clock, though not by ours: the clock has jumped, and is known now.

    async def _execute(self, command: tuple[int | str | bytes, ...]) -> Any:
        """Send a command and read its reply on the shard's own connection.

        Not by ``Redis.execute_command``: it packs the arguments in Python, which was most of what a
        call cost.
        """
        pool = self._redis.connection_pool
        if self._connection is None:
            self._connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        else:
            await pool.ensure_connection(self._connection)
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # typed there as one argument
        await self._connection.send_packed_command(packed, check_health=False)
        return await self._connection.read_response()

    async def _ask_time(self) -> None:
        sent = monotonic()
        seconds, microseconds = await self._redis.time()
        ticks = (seconds - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND + microseconds * 16
        self._clock.observe(sent, monotonic(), ticks)


def _fail(batch: _Batch, cause: BaseException) -> None:
    for future in batch.futures:
        if future is None:
            metrics.LOG_DROPPED.inc()
        elif not future.done():
            error = _unavailable()
            error.__cause__ = cause
            future.set_exception(error)


def _unavailable() -> LimiterUnavailable:
    return LimiterUnavailable("The limiter did not decide in time; try again.", {"Retry-After": "1"})
