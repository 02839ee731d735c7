"""The stream of decisions on their way to PostgreSQL, as the drain and the metrics see it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, cast

import structlog
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import OutOfMemoryError, RedisError

from ratelimiter import metrics, redis_keys

from .record import SCRIPT_MAX, MalformedRecord, Record, decode, number, time_of

BEGINNING: Final = "0-0"
ENTRIES_PER_READ: Final = 200
"""An entry may hold 256 records: bounds what one reply takes in memory."""
_EPOCH: Final = re.compile(rb"[1-9][0-9]{0,15}")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """A batch of records: its id, the stream's epoch, and the number of records before it."""

    id: str
    epoch: str
    position: int
    records: Sequence[Record]
    malformed: Sequence[str]

    @property
    def end(self) -> int:
        """The number of records up to and with this entry."""
        return self.position + len(self.records) + len(self.malformed)

    @classmethod
    def parse(cls, entry_id: bytes, fields: Sequence[bytes]) -> Self:
        """Read an entry; records that cannot be read are named in ``malformed``.

        Raises:
            MalformedRecord: there is no head to read the entry by.

        """
        try:
            head_name, head, *pairs = fields
            name, position, ticks = head.split(b" ")
            epoch = name.decode()
            timestamp = time_of(ticks)
            start = number(position, most=SCRIPT_MAX)
            known_and_outcome = list(zip(pairs[::2], pairs[1::2], strict=True))
        except ValueError as exc:
            raise MalformedRecord(f"entry {entry_id!r}: {exc}") from exc
        if head_name != b"head":
            raise MalformedRecord(f"entry {entry_id!r} has no head")
        records, malformed = [], []
        for known, outcome in known_and_outcome:
            try:
                records.append(decode(known, outcome, timestamp))
            except MalformedRecord as exc:
                malformed.append(str(exc))
        return cls(entry_id.decode(), epoch, start, records, malformed)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be copied: how many records, and for how long the oldest of them (0: none)."""

    records: int
    lag_seconds: float


async def backlog(redis: "AsyncRedis", shard: int) -> Backlog:
    """The backlog of a shard's stream."""
    pipeline = redis.pipeline(transaction=True)
    pipeline.hmget(redis_keys.stream_state(shard), ["seq", "drained"])
    pipeline.xrange(redis_keys.stream(shard), count=1)
    pipeline.time()
    (appended, drained), oldest, (seconds, _) = await pipeline.execute()
    lag = seconds - int(oldest[0][0].split(b"-")[0]) / 1000 if oldest else 0.0
    return Backlog(max(0, int(appended or 0) - int(drained or 0)), max(0.0, lag))


class Outbox:
    """One shard's stream, for the drain; ``redis`` speaks RESP2."""

    def __init__(self, redis: "Redis", shard: int) -> None:
        # As it comes: redis-py's dictionaries would merge records that are alike to the byte.
        redis.set_response_callback("XREAD", lambda reply: reply)
        self._redis = redis
        self._stream = redis_keys.stream(shard)
        self._state = redis_keys.stream_state(shard)

    def epoch(self) -> str | None:
        """The name of the stream's present life; ``None`` before the first record.

        A name that the script did not write is taken away: the next record gives a new one.
        """
        epoch = cast("bytes | None", self._redis.hget(self._state, "epoch"))
        if epoch is None:
            return None
        if _EPOCH.fullmatch(epoch):
            return epoch.decode()
        metrics.LOG_MALFORMED.inc()
        log.warning("epoch_set_aside", epoch=repr(epoch[:100]))
        self._redis.hdel(self._state, "epoch")
        return None

    def backlog(self) -> int:
        """How many records wait to be copied."""
        appended, drained = cast("list[Any]", self._redis.hmget(self._state, ["seq", "drained"]))
        return max(0, int(appended or 0) - int(drained or 0))

    def drained(self) -> int:
        """The position up to which records of the stream's present life have been copied, once at least.

        0 where what stands there was not written by ``trim``.
        """
        position = cast("bytes | None", self._redis.hget(self._state, "drained")) or b""
        return int(position) if position.isdigit() else 0

    def read(self, after: str, pairs: int, wait_seconds: float) -> list[tuple[bytes, list[bytes]]]:
        """Raw entries after an id, up to the one that completes ``pairs`` or ends the stream.

        It waits for the first; empty if none came.
        """
        entries: list[tuple[bytes, list[bytes]]] = []
        block: tuple[str | int, ...] = ("BLOCK", int(wait_seconds * 1000))
        while pairs > 0:
            reply = self._redis.execute_command(  # type: ignore[no-untyped-call]  # redis-py's
                "XREAD", *block, "COUNT", ENTRIES_PER_READ, "STREAMS", self._stream, after
            )
            more = reply[0][1] if reply else []
            entries += more
            if len(more) < ENTRIES_PER_READ:
                break
            pairs -= sum(len(fields) // 2 for _, fields in more)
            after, block = more[-1][0], ()
        return entries

    def trim(self, through: str, drained: int) -> None:
        """Drop the entries up to an id, which stand in PostgreSQL now, and say how far that is."""
        milliseconds, sequence = through.split("-")
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xtrim(self._stream, minid=f"{milliseconds}-{int(sequence) + 1}", approximate=False)
        pipeline.hset(self._state, "drained", drained)
        for result in pipeline.execute(raise_on_error=False):
            # A full Redis still trims, but takes no new value: then only the backlog's gauge is late.
            if isinstance(result, RedisError) and not isinstance(result, OutOfMemoryError):
                raise result
