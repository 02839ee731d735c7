"""Two short cuts through uvicorn, which together halve what an answer costs; and an end that costs none.

**One system call.** uvicorn writes an answer's head and its body one after the other, and uvloop
hands each to the kernel at once. ``Protocol`` sends together what is written in one turn of the loop.

**Whole answers.** ASGI's ``send`` takes an answer in parts and examines each of its headers.
``send_whole`` writes one that is there whole, of headers that this service made itself.

**The end.** uvicorn closes idle connections at once when a worker ends. A request that is on its way then
meets a closed socket, and its client a reset. ``Protocol`` ends them in steps that no request falls between.
"""

import asyncio
from typing import Any, Final, cast

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

LARGE_BYTES: Final = 65_536
"""A part beyond this is not gathered …"""
MANY_PARTS: Final = 64
"""… and so many at most are."""
LINGER_SECONDS: Final = 0.3
"""So long a worker that ends still answers on connections that are kept alive, and says that they close …"""
HALF_CLOSED_SECONDS: Final = 0.2
"""… and so long it then takes no more requests, but resets none: clients see a clean end, and ask anew."""


class GatheringTransport:
    """A transport that gathers what is written until the loop's next turn; all else is the transport's."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        """Whatever is not said here."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send soon, in order."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)
        if len(data) > LARGE_BYTES or len(self._parts) > MANY_PARTS:
            self._flush()  # a long answer must hear of it when its client reads slowly

    def close(self) -> None:
        """Send what has been written, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts = self._parts
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))
        parts.clear()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol on a ``GatheringTransport``, which ends so that no request is lost."""

    _is_ending = False
    _is_half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take over a new connection."""
        super().connection_made(cast("asyncio.Transport", GatheringTransport(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        """Take what has come; what comes after the end was announced is not even begun."""
        if not self._is_half_closed:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin a request; at the end it is the connection's last."""
        super().on_headers_complete()
        if self._is_ending:
            super().shutdown()

    def shutdown(self) -> None:
        """End: after the request under way, or the next, or a moment without one."""
        self._is_ending = True
        if self._is_idle():
            self.loop.call_later(LINGER_SECONDS, self._half_close)
        else:
            super().shutdown()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _half_close(self) -> None:
        if self._is_idle() and not self.transport.is_closing():
            self._is_half_closed = True
            self.transport.write_eof()
            self.loop.call_later(HALF_CLOSED_SECONDS, self.transport.close)


async def send_response(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Answer a request by ASGI's way, with whatever headers."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_whole(send: Send, status: int, headers: bytes, body: bytes) -> None:
    """Answer a request; the headers, as lines, tell the body's length and nothing of the connection.

    Where ``send`` is not uvicorn's own, or writes an access log, the answer takes ASGI's way.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.access_log:
        await send_response(send, status, split(headers), body)
        return
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()  # a client that asks on and on, and reads no answers, has to wait
    if cycle.disconnected:
        return
    parts = [STATUS_LINE[status]]
    for name, value in cycle.default_headers:
        parts += (name, b": ", value, b"\r\n")
    parts.append(headers)
    if not cycle.keep_alive:
        parts.append(b"connection: close\r\n")
    parts += (b"\r\n", body)
    cycle.transport.write(b"".join(parts))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


def split(headers: bytes) -> list[tuple[bytes, bytes]]:
    """Headers as names and values, from lines."""
    found = []
    for line in headers.splitlines():
        name, _, value = line.partition(b": ")
        found.append((name, value))
    return found
