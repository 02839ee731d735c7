"""A connection to Redis on which several commands are under way, at the least cost a command.

redis-py connects: it knows what an address may ask for (TLS, a password, a database). Its streams,
which took most of what a script call cost, then give way to hiredis on the bare transport
(``asyncio.BaseTransport.set_protocol``).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError

Command = tuple[int | str | bytes, ...]
Reply = Any
"""What Redis sent, or the exception that came instead: ``RedisError`` or ``TimeoutError``."""


class Link(asyncio.Protocol):
    """Takes over a connection that redis-py has made, until it is lost.

    Redis answers in order. A command that has no reply at its deadline takes the connection down, and
    with it all that was sent after it.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        # redis-py names no way to the transport of a connection.
        self._transport = cast("asyncio.Transport", connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        self._expected: deque[tuple[float, Callable[[Reply], None]]] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at = inf
        self.is_open = True
        """Whether commands can be sent."""

    def send(self, command: Command, deadline: float, on_reply: Callable[[Reply], None]) -> None:
        """Send a command; ``on_reply`` is called once, with its reply or with what failed it."""
        if not self.is_open:
            on_reply(RedisConnectionError("Redis closed the connection"))
            return
        self._expected.append((deadline, on_reply))
        if deadline < self._expires_at:
            self._look_at(deadline)
        self._transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # typed there as one argument

    async def call(self, command: Command, deadline: float) -> Reply:
        """The reply of a command. Raises what came instead."""
        future: asyncio.Future[Reply] = self._loop.create_future()

        def settle(reply: Reply) -> None:
            if future.done():
                return  # the caller has gone
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.send(command, deadline, settle)
        return await future

    def data_received(self, data: bytes) -> None:
        """Hand on the replies that are whole."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if not self._expected:
                    self._give_up(InvalidResponse("a reply that nobody asked for"))
                    return
                _, on_reply = self._expected.popleft()
                on_reply(reply)
        except InvalidResponse as exc:
            self._give_up(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way. The streams hear of it: redis-py waits for that when it closes."""
        self._streams.connection_lost(exc)
        self._give_up(RedisConnectionError("Redis closed the connection"))

    def _look_at(self, deadline: float) -> None:
        """One timer, for the next deadline: one for each command would cost more."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expires_at = deadline
        self._expiry = self._loop.call_later(deadline - monotonic(), self._expire)

    def _expire(self) -> None:
        self._expires_at, self._expiry = inf, None
        if not self._expected:
            return
        next_deadline = min(deadline for deadline, _ in self._expected)
        if next_deadline > monotonic():
            self._look_at(next_deadline)
        else:
            self._give_up(TimeoutError("Redis did not answer in time"))

    def _give_up(self, cause: Exception) -> None:
        self.is_open = False
        self._transport.abort()
        if self._expiry is not None:
            self._expiry.cancel()
        while self._expected:
            _, on_reply = self._expected.popleft()
            on_reply(cause)


def _error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
