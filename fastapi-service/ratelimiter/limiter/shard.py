"""One shard's way to Redis: what arrives together shares a script call."""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import chain
from time import monotonic, time
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from ratelimiter import metrics, redis_keys

from .batch import Answer, Arguments, Batch, timed
from .connector import SHA, Connector
from .failures import is_poison, reason_of
from .link import Link, Reply
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND

MAX_BATCH: Final = 256
"""Takes a call carries at most: bounds how long one script holds Redis (some 3 ms)."""

MAX_TOGETHER: Final = 2
"""Items that belong together at most: a take and its idempotency key."""

MAX_CALLS: Final = 4
"""Calls under way at most: while Redis works on one, the next are read, sent and answered."""

GATHER_SECONDS: Final = 0.05
"""How long an outcome that nobody waits for may wait for others to share a call with."""
MAX_APPENDED: Final = 100_000
"""Outcomes that wait for a Redis that is away at most, in all shards of a worker (some 25 MB)."""

FLUSH_SECONDS: Final = 2.0
"""How long the end waits for Redis to take what was appended."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Shard:
    """What arrives in one turn of the loop shares a call; beyond ``MAX_CALLS`` it waits for the next.

    It has a circuit breaker. The first call that fails, or is late, opens it: nobody waits for Redis any
    more. From then on Redis is probed, at once and again and again; the first probe that is
    answered in time, a write among it, closes it.
    """

    def __init__(
        self, redis: "Redis", shard: int, timeout_seconds: float, max_appended: int = MAX_APPENDED
    ) -> None:
        self.no_bucket: Final = redis_keys.stream_state(shard)
        """Stands where the script expects a bucket's name, for what asks none."""
        self._shard = shard
        self._timeout_seconds = timeout_seconds
        self._max_appended = max_appended
        self._connector = Connector(redis, timeout_seconds)
        self._clock = self._connector.clock
        self._fixed_keys = (redis_keys.stream(shard), redis_keys.stream_state(shard))
        self._waiting: deque[Batch] = deque()
        self._appended: deque[Arguments] = deque()
        self._under_way: deque[Batch] = deque()
        self.is_away = False
        """Whether the breaker is open, so that a take would only fail."""
        self._timer: asyncio.TimerHandle | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def bucket(self, subject: int) -> str:
        """The name of a subject's bucket."""
        return redis_keys.bucket(self._shard, subject)

    def once(self, subject: int, key: str) -> str:
        """The name under which the first answer to a subject's idempotency key is remembered."""
        return redis_keys.once(self._shard, subject, key)

    def submit(
        self, deadline: float, key: str, arguments: Arguments, future: "asyncio.Future[Answer]"
    ) -> None:
        """Have an item decided; ``future`` gets the answer, or ``LimiterUnavailable``."""
        waiting = self._waiting
        # One that is asked again has the deadline of older takes.
        has_room = waiting and len(waiting[-1].futures) < MAX_BATCH and not waiting[-1].sent
        batch = waiting[-1] if has_room else self._begin(deadline)
        batch.keys.append(key)
        batch.arguments += arguments
        batch.futures.append(future)

    def submit_both(
        self,
        deadline: float,
        items: Iterable[tuple[str, Arguments, "asyncio.Future[Answer]"]],
    ) -> None:
        """Have items decided that belong together, so that they share a call."""
        if self._waiting and len(self._waiting[-1].futures) > MAX_BATCH - MAX_TOGETHER:
            self._begin(deadline)
        for key, arguments, future in items:
            self.submit(deadline, key, arguments, future)

    def append(self, arguments: Arguments) -> None:
        """Have an outcome recorded, together with others."""
        if len(self._appended) >= self._max_appended:
            metrics.LOG_DROPPED.inc()
            return
        # What waits for a Redis that is away keeps its own time.
        self._appended.append(timed(arguments, self.now()) if self.is_away else arguments)
        self._see_to_appended()

    async def flush(self) -> None:
        """Send what was appended; what Redis does not take within ``FLUSH_SECONDS`` is dropped."""
        deadline = monotonic() + FLUSH_SECONDS
        while (self._appended or self._waiting or self._under_way) and monotonic() < deadline:
            self._send_appended()
            await asyncio.sleep(GATHER_SECONDS / 10)
        metrics.LOG_DROPPED.inc(len(self._appended))
        self._appended.clear()

    async def stop(self) -> None:
        """Look for Redis no more; whoever still waits is told that there is no decision."""
        self._is_stopped = True
        for timer in (self._timer, self._overdue):
            if timer is not None:
                timer.cancel()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)

    def _begin(self, deadline: float) -> Batch:
        """A batch that is sent in the loop's next turn, so that all that arrives in this one goes along."""
        batch = Batch(deadline)
        self._waiting.append(batch)
        asyncio.get_running_loop().call_soon(self._send_waiting)
        return batch

    def _see_to_appended(self) -> None:
        """Outcomes go along with the next takes; many have a call of their own, few a little later."""
        if not self._appended or self._waiting or self.is_away:
            return
        if len(self._appended) >= MAX_BATCH and not self._is_stalled(monotonic()):
            self._send_appended()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._send_appended)

    def _send_appended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = monotonic()
        if self._is_stalled(now):
            self._see_to_appended()
        elif self._appended and not self._waiting and not self.is_away:
            self._begin(now + self._timeout_seconds)

    def _is_stalled(self, now: float) -> bool:
        """Whether Redis owes a reply and has been silent for so long that outcomes had better be kept."""
        link = self._connector.link
        if link is None or not self._under_way:
            return False
        return now - max(link.heard, self._under_way[0].sent) > GATHER_SECONDS

    def _send_waiting(self) -> None:
        while self._waiting and len(self._under_way) < MAX_CALLS:
            link = self._connector.ready()
            if link is None:
                self._start_preparing()
                return
            self._send(link, self._waiting.popleft())
        self._see_to_appended()

    def _send(self, link: Link, batch: Batch) -> None:
        now = monotonic()
        if now >= batch.deadline:
            # No fault of Redis's: this process stood still, or the calls under way are late and will tell.
            self._fail_unsent(batch, TimeoutError("the deadline of the batch has passed"))
            return
        while (
            self._appended
            and not self._is_stalled(now)
            and len(batch.futures) + len(batch.appended) < MAX_BATCH
        ):
            batch.appended.append(self._appended.popleft())
        if not batch.futures and not batch.appended:
            return  # what it was begun for went along with another
        keys = (*self._fixed_keys, *batch.keys, *[self.no_bucket] * len(batch.appended))
        arguments = (*batch.arguments, *chain.from_iterable(batch.appended))
        command = ("EVALSHA", SHA, len(keys), *keys, self._clock.at(batch.deadline), *arguments)
        batch.sent = now
        self._under_way.append(batch)
        try:
            link.send(command, batch.deadline, partial(self._replied, batch))
        except (TypeError, ValueError) as exc:  # a mistake of ours in one of the takes
            self._under_way.remove(batch)
            batch.fail(exc)

    def _replied(self, batch: Batch, reply: Reply) -> None:
        self._under_way.remove(batch)
        try:
            self._settle(batch, reply)
        except Exception as exc:  # nobody may be left waiting, whatever went wrong
            log.exception("reply_not_understood", shard=self._shard)
            batch.fail(exc)
        self._send_waiting()

    def _settle(self, batch: Batch, reply: Reply) -> None:
        """Tell the callers. Asking again is safe where the script did nothing, and nowhere else.

        A lost reply leaves the outcome unknown: the callers are told that there is no decision.
        """
        if isinstance(reply, NoScriptError):
            self._connector.script_is_lost()
            self._ask_again(batch)
            return
        if isinstance(reply, Exception):
            if is_poison(reply):
                metrics.LOG_DROPPED.inc(len(batch.appended))
            else:  # perhaps they are recorded, perhaps not: the drain knows a double by its decision's id
                at = self._clock.at(batch.sent)
                self._appended.extendleft(timed(item, at) for item in reversed(batch.appended))
            batch.fail(reply)
            self._open_breaker(reply)
            return
        now = reply[0]
        self._clock.observe(batch.sent, monotonic(), now)
        if len(reply) == 1:
            # Too late by Redis's clock, though not by ours: the clock has jumped, and is known now.
            self._ask_again(batch)
            return
        for index, future in enumerate(batch.futures):
            answer = reply[index + 1]
            if future.done():  # its client has gone
                continue
            if answer is None:
                refused = batch.arguments[4 * index : 4 * index + 3]
                future.set_exception(ValueError(f"the script refused {refused}"))
            else:
                future.set_result((now, answer))

    def _ask_again(self, batch: Batch) -> None:
        insort(self._waiting, batch, key=lambda one: one.deadline)

    def _open_breaker(self, cause: BaseException) -> None:
        """Let nobody wait any more, and look when Redis is back."""
        metrics.REDIS_FAILURES.labels(reason_of(cause)).inc()
        if not self.is_away:
            metrics.BREAKER_OPENINGS.inc()
            log.warning("redis_away", shard=self._shard, cause=repr(cause))
        was_away, self.is_away = self.is_away, True
        while self._waiting:
            self._fail_unsent(self._waiting.popleft(), cause)
        if not was_away:
            self._note_time_of_appended()
        self._start_preparing()

    def _note_time_of_appended(self) -> None:
        """What was appended just now will be recorded when Redis is back: it must not seem to be of then."""
        now = self.now()
        self._appended = deque(timed(item, now) for item in self._appended)

    def _fail_unsent(self, batch: Batch, cause: BaseException | None) -> None:
        self._appended.extendleft(reversed(batch.appended))
        batch.fail(cause)

    def now(self) -> int:
        """Redis's time in ticks, once it has been heard of: then no jump of this machine's time matters."""
        if self._clock.is_set:
            return self._clock.at(monotonic())
        return int((time() - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND)

    def _start_preparing(self) -> None:
        """Connect, or probe; whoever waits for it is told no at its own deadline, if it takes longer."""
        if self._preparing is None and not self._is_stopped:
            self._preparing = asyncio.get_running_loop().create_task(
                self._connector.prepare(and_write=self.is_away)
            )
            self._preparing.add_done_callback(self._prepared)
            self._fail_overdue()

    def _fail_overdue(self) -> None:
        now = monotonic()
        if self._waiting and self._waiting[0].deadline <= now:
            self._open_breaker(TimeoutError("there is no connection to Redis yet"))
        next_deadline = self._waiting[0].deadline if self._waiting else now + self._timeout_seconds
        self._overdue = asyncio.get_running_loop().call_later(next_deadline - now, self._fail_overdue)

    def _prepared(self, preparing: "asyncio.Task[None]") -> None:
        self._preparing = None
        if self._overdue is not None:
            self._overdue.cancel()
        if preparing.cancelled():
            while self._waiting:
                self._fail_unsent(self._waiting.popleft(), None)
            return
        cause = preparing.exception()
        if cause is not None:
            self._open_breaker(cause)
            return
        if self.is_away:
            log.info("redis_back", shard=self._shard)
        self.is_away = False
        self._send_waiting()
