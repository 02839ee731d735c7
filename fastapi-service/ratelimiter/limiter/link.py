"""A connection to Redis for one command at a time, at the least cost a command.

redis-py connects: it knows what an address may ask for (TLS, a password, a database). Its streams,
which took most of what a script call cost, then give way to hiredis on the bare transport
(``asyncio.BaseTransport.set_protocol``).
"""

import asyncio
from time import monotonic
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

Command = tuple[int | str | bytes, ...]


class Link(asyncio.Protocol):
    """One connection of ``redis``'s pool, which it keeps; made anew after it was lost."""

    def __init__(self, redis: "Redis") -> None:
        self._pool: Final = redis.connection_pool
        self._connection: AbstractConnection | None = None
        self._streams: asyncio.BaseProtocol | None = None
        self._transport: asyncio.Transport | None = None
        self._reader = _new_reader()
        self._reply: asyncio.Future[Any] | None = None

    async def connect(self, deadline: float) -> None:
        """Connect, unless it is connected.

        Raises ``RedisError`` or ``OSError``, which ``TimeoutError`` is.
        """
        if self._transport is not None:
            return
        async with asyncio.timeout(deadline - monotonic()):
            if self._connection is None:
                self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
            else:
                await self._connection.disconnect(nowait=True)
                await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
        # redis-py names no way to the transport of a connection that it has made.
        self._transport = cast("asyncio.Transport", self._connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._reader = _new_reader()

    async def call(self, command: Command, deadline: float) -> Any:
        """The reply of a command; it must be connected, and no other call be under way.

        Raises ``RedisError``, also for a reply that is an error, or ``TimeoutError`` at the deadline.
        Without a reply the connection is given up: a late one would be taken for the next command's.
        """
        if self._transport is None:
            raise RedisConnectionError("There is no connection to Redis")
        loop = asyncio.get_running_loop()
        self._reply = reply = loop.create_future()
        expiry = loop.call_later(
            deadline - monotonic(), self._give_up, TimeoutError("Redis did not answer in time")
        )
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # typed there as one argument
        try:
            return await reply
        except asyncio.CancelledError:
            self._give_up(RedisConnectionError("The caller has gone"))
            raise
        finally:
            expiry.cancel()

    def data_received(self, data: bytes) -> None:
        """Take a reply, or a part of one."""
        self._reader.feed(data)
        try:
            reply = self._reader.gets()
        except InvalidResponse as exc:
            self._give_up(exc)
            return
        if reply is False or self._reply is None or self._reply.done():
            return  # there is more to come, or nobody waits
        if isinstance(reply, RedisError):
            self._reply.set_exception(reply)
        else:
            self._reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the call under way. The streams hear of it, for redis-py waits for that when it closes."""
        if self._streams is not None:
            self._streams.connection_lost(exc)
        self._give_up(RedisConnectionError("Redis closed the connection"))

    def _give_up(self, exc: Exception) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc)


def _new_reader() -> "hiredis.Reader":
    return hiredis.Reader(protocolError=InvalidResponse, replyError=_error)


def _error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
