"""A connection to Redis on which several commands are under way, at the least cost a command.

redis-py connects: it knows what an address may ask for (TLS, a password, a database). Its streams,
which took most of what a script call cost, then give way to hiredis on the bare transport
(``asyncio.BaseTransport.set_protocol``).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Call:
    """A command under way; ``on_reply`` is None once its caller has been told that it is too late."""

    sent: float
    deadline: float
    on_reply: Callable[[Reply], None] | None


class Link(asyncio.Protocol):
    """Takes over a connection that redis-py has made, until it is lost.

    Redis answers in order. A command without a reply at its deadline keeps its place, and a late reply is
    nobody's; if nothing at all has been heard since it was sent, the connection is given up.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        # redis-py names no way to the transport of a connection.
        streams = connection._reader, connection._writer  # noqa: SLF001
        reader, writer = cast("tuple[asyncio.StreamReader, asyncio.StreamWriter]", streams)
        self._transport = cast("asyncio.Transport", writer.transport)
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._replies = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        self._calls: deque[_Call] = deque()
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at = inf
        self.heard = monotonic()
        """When something last came from Redis (``time.monotonic``)."""
        self.is_open = not reader.at_eof()
        """Whether commands can be sent."""

    def send(self, command: Command, deadline: float, on_reply: Callable[[Reply], None]) -> None:
        """Send a command; ``on_reply`` is called once, with its reply or with what failed it.

        Raises ``TypeError`` or ``ValueError`` for what cannot be sent.
        """
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # typed there as one argument
        if not self.is_open:
            on_reply(_closed())
            return
        self._calls.append(_Call(monotonic(), deadline, on_reply))
        if deadline < self._expires_at:
            self._look_at(deadline)
        self._transport.write(packed)

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

    def close(self) -> None:
        """Give the connection up; what is under way fails."""
        self._give_up(_closed())

    def data_received(self, data: bytes) -> None:
        """Hand on the replies that are whole."""
        self.heard = monotonic()
        self._replies.feed(data)
        try:
            while (reply := self._replies.gets()) is not False:
                if not self._calls:
                    self._give_up(InvalidResponse("a reply that nobody asked for"))
                    return
                call = self._calls.popleft()
                if call.on_reply is not None:
                    call.on_reply(reply)
        except InvalidResponse as exc:
            self._give_up(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way. The streams hear of it: redis-py waits for that when it closes."""
        self._fail_all(_closed())
        self._streams.connection_lost(exc)

    def _look_at(self, deadline: float) -> None:
        """One timer, for the next deadline: one for each command would cost more."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._expires_at = deadline
        self._expiry = self._loop.call_later(deadline - monotonic(), self._expire_soon)

    def _expire_soon(self) -> None:
        """A loop that stood still runs its timers before it reads: what has come meanwhile goes first."""
        self._expiry = self._loop.call_later(0, self._expire)

    def _expire(self) -> None:
        self._expires_at, self._expiry = inf, None
        now = monotonic()
        late = [call for call in self._calls if call.on_reply is not None and call.deadline <= now]
        if any(self.heard < call.sent for call in late):
            self._give_up(_late())
            return
        for call in late:
            on_reply, call.on_reply = call.on_reply, None
            if on_reply is not None:
                on_reply(_late())
        waiting = [call.deadline for call in self._calls if call.on_reply is not None]
        if waiting:
            self._look_at(min(waiting))

    def _give_up(self, cause: Exception) -> None:
        self._fail_all(cause)
        self._transport.abort()

    def _fail_all(self, cause: Exception) -> None:
        self.is_open = False
        if self._expiry is not None:
            self._expiry.cancel()
        while self._calls:
            call = self._calls.popleft()
            if call.on_reply is not None:
                call.on_reply(cause)


def _closed() -> RedisConnectionError:
    return RedisConnectionError("Redis closed the connection")


def _late() -> TimeoutError:
    return TimeoutError("Redis did not answer in time")


def _error(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
