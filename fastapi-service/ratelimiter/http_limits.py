"""What one connection, and all connections of a worker together, may take of its memory and time.

uvicorn bounds neither the head of a request, nor the time it may take, nor the connections, nor the requests
that wait on one. ``LimitedProtocol`` does. What passes a limit is answered where that cannot be taken for the
answer to another request, and its connection is closed. It is counted in ``http_refusals_total`` and never
logged, since whoever sends garbage must not fill the disk with it.

**Time** is measured by one sweep over all connections rather than by a timer of each: a connection that is
found in the same stage again has been in it since then. So nothing is closed early, and all within two sweeps
of its limit.

**Requests that two servers could read differently** (request smuggling) end the connection. llhttp, which
parses them, refuses two lengths, folded headers and bare line feeds; what it lets pass and RFC 9112 does not
is refused here.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from . import metrics
from .errors import ApiError, BadRequest, BodyTooLarge, HeadTooLarge, HeadTooSlow, TooManyConnections
from .protocol import Protocol

MAX_HEADERS: Final = 100
"""An object of Python takes many times the bytes of a short header."""
MAX_PIPELINED: Final = 64
"""Requests that wait on one connection for the answer before theirs."""
MAX_REMAINDER_BYTES: Final = 65_536
"""What may follow a head before the next: a body (the API takes 16 KiB), its chunks' frames, trailers."""
ANSWER_SECONDS: Final = 10.0
"""How long a client may leave an answer unread, without taking any of it, as nginx's ``send_timeout``."""
MAX_UNREAD_BYTES: Final = 64 * 1024 * 1024
"""Unread answers of a worker; beyond, clients are not waited for."""
SWEEP_SECONDS: Final = 0.5
SWEEP_CONNECTIONS: Final = 100
"""So many are looked at in one turn of the loop, which takes some 0.2 ms …"""
SWEEP_PAUSE_SECONDS: Final = 0.002
"""… and then the requests have the loop for so long: they would wait for each of such turns in a row."""

_NEW: Final = object()
_UNREAD: Final = object()


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits that are settings; ``connections`` are a worker's."""

    header_bytes: int
    header_seconds: float
    idle_seconds: float
    connections: int


class Sweep:
    """Looks at all connections of a worker, every ``SWEEP_SECONDS`` while there are any."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits: Final = limits
        self._task: asyncio.Task[None] | None = None

    def begin(self, connections: "set[Any]") -> None:
        """Go on until there are no connections."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(connections))

    async def _run(self, connections: "set[LimitedProtocol]") -> None:
        unread = 0
        while connections:
            await asyncio.sleep(SWEEP_SECONDS)
            unread = await self._look_at(tuple(connections), is_crowded=unread > MAX_UNREAD_BYTES)

    async def _look_at(self, connections: "tuple[LimitedProtocol, ...]", *, is_crowded: bool) -> int:
        unread = 0
        for start in range(0, len(connections), SWEEP_CONNECTIONS):
            now = asyncio.get_running_loop().time()
            for connection in connections[start : start + SWEEP_CONNECTIONS]:
                unread += connection.look(now, is_crowded=is_crowded)
            await asyncio.sleep(SWEEP_PAUSE_SECONDS)
        return unread


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes the headers that follow a chunked body, and keeps none: nobody here asks for them."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Drop one."""


class LimitedProtocol(Protocol):
    """A connection within limits."""

    def __init__(self, *args: Any, sweep: Sweep, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sweep = sweep
        self._limits = sweep.limits
        self._is_in_head = False
        self._piece_bytes = 0
        self._bytes = 0
        """Received since the head under way began, or since the last was complete …"""
        self._others_bytes = 0
        """… and so many of them at most are not the head's: it began in a piece behind another request."""
        self._is_refused = False
        self._stage: object = None
        self._stage_began = 0.0
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take over a new connection, if it is not one too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(
                TooManyConnections("Too many connections are open; try again.", {"Retry-After": "1"})
            )
        self._sweep.begin(self.connections)

    def data_received(self, data: bytes) -> None:
        """Parse what came, never more at once than a head may have."""
        most = self._limits.header_bytes
        if len(data) <= most:
            self._feed(data)
        else:
            for start in range(0, len(data), most):
                self._feed(data[start : start + most])

    def _feed(self, data: bytes) -> None:
        if self._is_refused or self._is_half_closed:
            return
        cycle = self.cycle
        self._piece_bytes = len(data)
        self._bytes += self._piece_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if it had not asked; what it sends behind that is no HTTP any more.
            self.cycle.keep_alive = False
            self._is_refused = True
        except httptools.HttpParserError as exc:
            cause = exc.__context__
            self._refuse(cause if isinstance(cause, ApiError) else BadRequest("This is not HTTP/1.1."))
        else:
            if self._is_in_head:
                if self._bytes - self._others_bytes > self._limits.header_bytes:
                    self._refuse(_head_too_large(f"{self._limits.header_bytes} bytes"))
            elif self.cycle is not cycle:
                self._bytes = 0
            elif self._bytes > MAX_REMAINDER_BYTES:
                self._refuse(
                    BodyTooLarge(f"A body and its frame may have {MAX_REMAINDER_BYTES} bytes at most.")
                )

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_in_head = True
        if self.cycle is not None:
            self._bytes = self._others_bytes = self._piece_bytes
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequest(f"At most {MAX_PIPELINED} requests may wait on a connection.")

    def on_headers_complete(self) -> None:
        """A head is complete: have the request answered, unless it is one that must not be."""
        self._require_sound_head()
        super().on_headers_complete()
        self._is_in_head = False
        self.headers = _Trailers()

    def on_response_complete(self) -> None:
        """Go on with the next request; the sweep sees to a connection that is idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()

    def look(self, now: float, *, is_crowded: bool) -> int:
        """End the connection if it has been in its stage for too long; returns its unread bytes.

        How long an answer or a body may take is not bounded here but by the application.
        """
        unread: int = self.transport.get_write_buffer_size()
        cycle = self.cycle
        stage: object
        if unread:
            stage, seconds = _UNREAD, 0.0 if is_crowded else ANSWER_SECONDS
        elif self.transport.is_closing() or (cycle is not None and not cycle.response_complete):
            stage, seconds = None, 0.0
        elif self._is_in_head:
            stage, seconds = self.scope, self._limits.header_seconds
        elif cycle is None:
            stage, seconds = _NEW, self._limits.header_seconds
        else:
            stage, seconds = cycle, self._limits.idle_seconds
        is_taken, self._unread = unread < self._unread and not is_crowded, unread
        if stage is not self._stage or is_taken:
            self._stage, self._stage_began = stage, now
        elif stage is not None and now - self._stage_began >= seconds:
            self._end(stage)
        return unread

    def _end(self, stage: object) -> None:
        if stage is _UNREAD:
            metrics.HTTP_REFUSALS.labels("answer-unread").inc()
            self.transport.abort()
        elif self._is_in_head:
            self._refuse(HeadTooSlow(f"The headers must be here within {self._limits.header_seconds:g} s."))
        else:
            self.transport.close()

    def _require_sound_head(self) -> None:
        names = [name for name, _ in self.headers]
        if len(names) > MAX_HEADERS:
            raise _head_too_large(f"{MAX_HEADERS} headers")
        most = self._limits.header_bytes
        if self._bytes > most and len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > most:
            raise _head_too_large(f"{most} bytes")
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        if version == "1.1":
            if hosts != 1:
                raise BadRequest("A request of HTTP/1.1 must name its host once.")  # RFC 9112, 3.2
        elif version != "1.0":
            raise BadRequest("Expected HTTP/1.1.")
        elif hosts > 1 or b"transfer-encoding" in names:
            # RFC 9112, 6.1: its framing may have been understood otherwise on the way.
            raise BadRequest("A request of HTTP/1.0 has one host at most, and no Transfer-Encoding.")

    def _refuse(self, error: ApiError) -> None:
        """Read no more; answer if it is this request's turn, and close."""
        metrics.HTTP_REFUSALS.labels(error.slug).inc()
        self._is_refused = True
        cycle = self.cycle
        if cycle is not None and self._is_in_head and not cycle.response_complete:
            cycle.keep_alive = False  # earlier requests are answered yet; with the last of them it closes
            return
        # A second answer to one request would be taken for the next request's.
        is_its_turn = cycle is None or self._is_in_head or not (cycle.response_started or self.pipeline)
        if is_its_turn:
            self.transport.write(self._answer(error))
        self.transport.close()

    def _answer(self, error: ApiError) -> bytes:
        body = json.dumps(error.problem()).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *((name.encode(), value.encode()) for name, value in error.headers.items()),
        ]
        lines = b"".join(b"%b: %b\r\n" % each for each in headers)
        return b"%b%b\r\n%b" % (STATUS_LINE[error.status], lines, body)


def _head_too_large(most: str) -> HeadTooLarge:
    return HeadTooLarge(f"The request's head may have {most} at most.")
