"""One shard's way to Redis: what arrives together shares a script call."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha1
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from ratelimiter import metrics, redis_keys
from ratelimiter.errors import LimiterUnavailable

from .clock import ServerClock
from .link import Link
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND

_SCRIPT: Final = (Path(__file__).parent / "token_bucket.lua").read_text(encoding="utf-8")
_SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

MAX_BATCH: Final = 256
"""Takes a call carries at most: bounds how long one script holds Redis (some 3 ms)."""

GATHER_SECONDS: Final = 0.05
"""How long an outcome that nobody waits for may wait for others to share a call with."""
MAX_APPENDED: Final = 10_000
"""Outcomes that wait for a Redis that is away at most, in a shard (some 2 MB)."""

Answer = tuple[int, int]
"""Redis's time, and the script's answer."""
Arguments = tuple[int | str | bytes, int | str | bytes, int, bytes]
"""An item's arguments of the script."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Batch:
    """The takes that share a call, with the deadline of the oldest; and outcomes that go along.

    The takes in lists beside each other: an object for each would cost more than its share of the call.
    """

    deadline: float
    keys: list[str] = field(default_factory=list)
    arguments: list[int | str | bytes] = field(default_factory=list)
    futures: "list[asyncio.Future[Answer]]" = field(default_factory=list)
    appended: list[Arguments] = field(default_factory=list)
    was_sent: bool = False


class Shard:
    """At most one script call is in flight; the next gathers what arrives meanwhile."""

    def __init__(self, redis: "Redis", shard: int, timeout_seconds: float) -> None:
        self.no_bucket: Final = redis_keys.stream_state(shard)
        """Stands where the script expects a bucket's name, for what asks none."""
        self._shard = shard
        self._timeout_seconds = timeout_seconds
        self._link = Link(redis)
        self._clock = ServerClock(TICKS_PER_SECOND)
        self._fixed_keys = (redis_keys.stream(shard), redis_keys.stream_state(shard))
        self._waiting: deque[_Batch] = deque()
        self._appended: deque[Arguments] = deque()
        self._is_away = False
        self._sender: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def bucket(self, subject: int) -> str:
        """The name of a subject's bucket."""
        return redis_keys.bucket(self._shard, subject)

    def submit(
        self, deadline: float, key: str, arguments: Arguments, future: "asyncio.Future[Answer]"
    ) -> None:
        """Have an item decided; ``future`` gets the answer, or ``LimiterUnavailable``."""
        waiting = self._waiting
        if waiting and len(waiting[-1].futures) < MAX_BATCH:
            batch = waiting[-1]
        else:
            batch = _Batch(deadline)
            waiting.append(batch)
        batch.keys.append(key)
        batch.arguments += arguments
        batch.futures.append(future)
        if self._sender is None:
            self._start()

    def append(self, arguments: Arguments) -> None:
        """Have an outcome recorded, together with others."""
        if len(self._appended) >= MAX_APPENDED:
            metrics.LOG_DROPPED.inc()
            return
        self._appended.append(arguments)
        if self._sender is None:
            self._schedule()

    async def flush(self) -> None:
        """Send what was appended, or drop it once the timeout is over."""
        deadline = monotonic() + self._timeout_seconds
        while (self._appended or self._sender is not None) and monotonic() < deadline:
            self._start()
            await asyncio.sleep(GATHER_SECONDS / 10)
        metrics.LOG_DROPPED.inc(len(self._appended))
        self._appended.clear()

    def _schedule(self) -> None:
        """See that what waits is sent: now if somebody waits for it or it fills a call, else soon."""
        if self._waiting or (len(self._appended) >= MAX_BATCH and not self._is_away):
            self._start()
        elif self._appended and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sender is None:
            # The task starts in the loop's next turn, so all that arrives in this one goes along.
            self._sender = asyncio.get_running_loop().create_task(self._send_all())
            self._sender.add_done_callback(self._end_sender)

    def _end_sender(self, sender: "asyncio.Task[None]") -> None:
        self._sender = None
        failure = None if sender.cancelled() else sender.exception()
        if sender.cancelled() or failure is not None:  # nobody may be left waiting, whatever went wrong
            log.error("sender_ended", shard=self._shard, exc_info=failure)
            for batch in self._waiting:
                _fail(batch, failure)
            self._waiting.clear()
        self._schedule()

    async def _send_all(self) -> None:
        """Send all takes that wait, with the outcomes that fit in; or a call of outcomes alone."""
        while True:
            batch = self._waiting.popleft() if self._waiting else _Batch(monotonic() + self._timeout_seconds)
            for _ in range(min(len(self._appended), MAX_BATCH - len(batch.futures))):
                batch.appended.append(self._appended.popleft())
            await self._send(batch)
            if not self._waiting and (self._is_away or len(self._appended) < MAX_BATCH):
                return

    async def _send(self, batch: _Batch) -> None:
        """Decide a batch; its takes share the deadline of the oldest.

        A lost reply leaves the outcome unknown, and asking again could debit twice: the callers
        are told that there is no decision.
        """
        try:
            now, *answers = await self._decide(batch)
            for index, future in enumerate(batch.futures):
                answer = answers[index]
                if future.done():  # its client has gone
                    continue
                if answer is None:
                    refused = batch.arguments[4 * index : 4 * index + 3]
                    future.set_exception(ValueError(f"the script refused {refused}"))
                else:
                    future.set_result((now, answer))
            self._is_away = False
        except BaseException as exc:
            self._is_away = True
            _fail(batch, exc)
            if batch.was_sent:
                metrics.LOG_DROPPED.inc(len(batch.appended))
            else:
                self._appended.extendleft(reversed(batch.appended))
            if not isinstance(exc, (RedisError, OSError)):  # TimeoutError is an OSError
                raise

    async def _decide(self, batch: _Batch) -> list[int]:
        """The script's reply, in time. Asking again is safe where the script did nothing."""
        keys = (*self._fixed_keys, *batch.keys, *[self.no_bucket] * len(batch.appended))
        arguments = (*batch.arguments, *chain.from_iterable(batch.appended))
        while True:
            # Looked at here, not only by timeouts on the way: a cancellation can get lost.
            if monotonic() >= batch.deadline:
                raise TimeoutError("the deadline of the batch has passed")
            await self._link.connect(batch.deadline)
            if not self._clock.is_set:
                await self._ask_time(batch.deadline)
            sent = monotonic()
            command = ("EVALSHA", _SHA, len(keys), *keys, self._clock.at(batch.deadline), *arguments)
            batch.was_sent = True
            try:
                reply: list[int] = await self._link.call(command, batch.deadline)
            except NoScriptError:
                batch.was_sent = False
                await self._link.call(("SCRIPT", "LOAD", _SCRIPT), batch.deadline)
                continue
            self._clock.observe(sent, monotonic(), reply[0])
            if len(reply) > 1:
                return reply
            # Too late by Redis's clock, though not by ours: the clock has jumped, and is known now.
            batch.was_sent = False

    async def _ask_time(self, deadline: float) -> None:
        sent = monotonic()
        seconds, microseconds = await self._link.call(("TIME",), deadline)
        ticks = (int(seconds) - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND + int(microseconds) * 16
        self._clock.observe(sent, monotonic(), ticks)


def _fail(batch: _Batch, cause: BaseException | None) -> None:
    for future in batch.futures:
        if not future.done():
            error = unavailable()
            error.__cause__ = cause
            future.set_exception(error)


def unavailable() -> LimiterUnavailable:
    """What callers are told when there is no decision."""
    return LimiterUnavailable("The limiter did not decide in time; try again.", {"Retry-After": "1"})
