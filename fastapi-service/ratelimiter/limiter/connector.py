"""Makes a connection to Redis fit for script calls: connected, the script loaded, Redis's time known."""

import asyncio
from collections.abc import Awaitable
from hashlib import sha1
from pathlib import Path
from time import monotonic
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from ratelimiter import redis_keys

from .clock import ServerClock
from .link import Link, Reply
from .policy import TICKS_EPOCH_SECONDS, TICKS_PER_SECOND

_SCRIPT: Final = (Path(__file__).parent / "token_bucket.lua").read_text(encoding="utf-8")
SHA: Final = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
"""The script's name in EVALSHA."""

CONNECT_SECONDS: Final = 2.0
"""How long connecting may take, whoever waits for it."""
PROBE_SECONDS: Final = 0.05
"""From one attempt to the next, at least."""


class Connector:
    """One connection, made anew where it has been lost, and the clock at its other end."""

    def __init__(self, redis: "Redis", timeout_seconds: float) -> None:
        self._pool = redis.connection_pool
        self._timeout_seconds = timeout_seconds
        self._connection: AbstractConnection | None = None
        self._has_script = False
        self._next_attempt = 0.0
        self.link: Link | None = None
        """The connection, whatever its state."""
        self.clock: Final = ServerClock(TICKS_PER_SECOND)

    def ready(self) -> Link | None:
        """The connection, if a script call can be sent on it."""
        link = self.link
        return link if self._has_script and link is not None and link.is_open else None

    def script_is_lost(self) -> None:
        """Redis does not know the script any more."""
        self._has_script = False

    async def prepare(self, *, and_write: bool) -> None:
        """Connect if need be, load the script, learn the time; ``and_write``: see that writes are taken.

        Once connected, each answer has to come within the decisions' timeout.

        Raises:
            RedisError, OSError: it is not fit.

        """
        await asyncio.sleep(self._next_attempt - monotonic())
        self._next_attempt = monotonic() + PROBE_SECONDS
        link = self.link
        if link is None or not link.is_open:
            self._has_script = False
            async with asyncio.timeout(max(self._timeout_seconds, CONNECT_SECONDS)):
                link = self.link = Link(await self._connect())
        try:
            await self._ask(link, "SCRIPT", "LOAD", _SCRIPT)
            sent = monotonic()
            seconds, microseconds = await self._ask(link, "TIME")
            ticks = (int(seconds) - TICKS_EPOCH_SECONDS) * TICKS_PER_SECOND + int(microseconds) * 16
            self.clock.observe(sent, monotonic(), ticks)
            if and_write:  # one that is full answers everything else
                await self._ask(link, "SET", redis_keys.PROBE, 1, "PX", 1000)
        except ResponseError:
            # It may be a replica now, and what is the primary found at the same name.
            link.close()
            raise
        self._has_script = True

    def _ask(self, link: Link, *command: int | str) -> Awaitable[Reply]:
        return link.call(command, monotonic() + self._timeout_seconds)

    async def _connect(self) -> AbstractConnection:
        if self._connection is None:
            self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        else:
            await self._connection.disconnect(nowait=True)
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        return self._connection
