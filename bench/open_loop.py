"""Open-loop load: requests leave at their planned times, whether or not those before them were answered.

    python -m bench.open_loop < plan.json        (it is started by `bench.latency`)

A closed loop waits for a slow answer before it asks again, and so hides the queue behind it. Here a request's
latency counts from its planned time, also when all connections were busy and it had to wait for one.

It is a process of its own and does little per request, since it shares the machine with what it measures: one
epoll, bare sockets, no event loop. A timer of the kernel wakes it, for epoll itself counts in milliseconds.
"""

import ctypes
import gc
import json
import os
import select
import socket
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from math import ceil
from typing import Any

from bench.ratios import percentile

CONNECTIONS = 256
TICK_SECONDS = 0.0002
"""Requests that are due within so long leave together, at the time of the last."""
GRACE_SECONDS = 5.0
SETTLE_SECONDS = 0.3
"""Between connecting and the first request: a server needs a moment to accept all connections."""
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_RECEIVE_BYTES = 4096
_NONBLOCK = os.O_NONBLOCK
_LENGTH = b"content-length: "


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Interval(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("first", _Timespec))


def ticker(first: float, every: float) -> int:
    """A descriptor that becomes readable at `first` (`time.perf_counter`) and so often after (timerfd)."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
    plan = _Interval(_timespec(every), _timespec(first))
    if descriptor < 0 or libc.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(plan), None) < 0:
        raise OSError(ctypes.get_errno(), "no timer of the kernel can be had")
    return descriptor


def _timespec(seconds: float) -> _Timespec:
    # Rounded up: a tick before its time would find nothing due.
    return _Timespec(int(seconds), ceil(seconds % 1 * 1e9))


def is_whole(data: bytes) -> bool:
    """Whether an answer has all its bytes."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = data.find(_LENGTH, 0, head)
    if at < 0:
        return True
    end = data.find(b"\r", at)
    return len(data) >= head + 4 + int(data[at + len(_LENGTH) : end])


@dataclass
class _Connection:
    """One connection, and the planned time of the request on it (0: there is none)."""

    socket: socket.socket
    planned: float = 0.0
    received: bytes = b""


class OpenLoop:
    """One run at a fixed rate."""

    def __init__(self, host: str, port: int, requests: list[bytes], rate: float, seconds: float) -> None:
        self._address = (host, port)
        self._requests = requests
        self._rate = rate
        self._count = int(rate * seconds)
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, _Connection] = {}
        # In turn: a connection that rests for seconds would be closed by the server.
        self._free: deque[_Connection] = deque()
        self._waiting: deque[int] = deque()
        self._latencies: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._start = 0.0
        self._next = 0

    def run(self) -> dict[str, Any]:
        """Send all requests; what came back, in milliseconds."""
        self._free.extend(self._connect() for _ in range(CONNECTIONS))
        self._start = time.perf_counter() + SETTLE_SECONDS
        timer = ticker(self._start, ceil(self._rate * TICK_SECONDS) / self._rate)
        self._epoll.register(timer, select.EPOLLIN)
        gc.disable()
        own_cpu = time.process_time()
        deadline = self._start + self._count / self._rate + GRACE_SECONDS
        while self._unfinished() and time.perf_counter() < deadline:
            for descriptor, _ in self._epoll.poll(0.1):
                if descriptor == timer:
                    os.read(timer, 8)
                    self._send_due()
                else:
                    self._receive(self._by_descriptor[descriptor])
        unanswered = self._count - sum(self._statuses.values())
        if unanswered:
            self._statuses["unanswered"] += unanswered
            self._latencies += self._ages()
        ordered = sorted(self._latencies)
        return {
            "rate": self._rate,
            "requests": self._count,
            "statuses": dict(self._statuses),
            "p50_ms": percentile(ordered, 0.5) * 1000,
            "p99_ms": percentile(ordered, 0.99) * 1000,
            "p999_ms": percentile(ordered, 0.999) * 1000,
            "max_ms": (ordered[-1] if ordered else 0.0) * 1000,
            "own_cpu_us": (time.process_time() - own_cpu) * 1e6 / max(1, self._count),
        }

    def _unfinished(self) -> bool:
        return sum(self._statuses.values()) < self._count

    def _ages(self) -> list[float]:
        """How long the requests without an answer have waited: a latency that is at least so long."""
        now = time.perf_counter()
        planned = [one.planned for one in self._by_descriptor.values() if one.planned]
        planned += [self._start + number / self._rate for number in self._waiting]
        return [max(0.0, now - at) for at in planned]

    def _send_due(self) -> None:
        due = min(self._count, int((time.perf_counter() - self._start) * self._rate) + 1)
        while self._next < due:
            self._waiting.append(self._next)
            self._next += 1
        while self._waiting and self._free:
            self._send(self._free.popleft(), self._waiting.popleft())

    def _send(self, connection: _Connection, number: int) -> None:
        connection.planned = self._start + number / self._rate
        connection.received = b""
        connection.socket.send(self._requests[number % len(self._requests)])

    def _receive(self, connection: _Connection) -> None:
        data = connection.socket.recv(_RECEIVE_BYTES)
        if not data:
            self._statuses["closed"] += 1
            self._drop(connection)
            return
        if connection.received:
            data = connection.received + data
        if not is_whole(data):
            connection.received = data
            return
        self._latencies.append(time.perf_counter() - connection.planned)
        self._statuses[data[9:12].decode()] += 1
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            connection.planned = 0.0
            self._free.append(connection)

    def _drop(self, connection: _Connection) -> None:
        self._epoll.unregister(connection.socket)
        del self._by_descriptor[connection.socket.fileno()]
        connection.socket.close()
        self._free.append(self._connect())

    def _connect(self) -> _Connection:
        made = socket.create_connection(self._address, timeout=5)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)  # noqa: FBT003  # the socket module's own signature
        connection = _Connection(made)
        self._by_descriptor[made.fileno()] = connection
        self._epoll.register(made, select.EPOLLIN)
        return connection


def main() -> None:
    """Read the plan from stdin, write the result to stdout."""
    plan = json.load(sys.stdin)
    head = f"POST {plan['path']} HTTP/1.1\r\nhost: {plan['host']}\r\ncontent-length: 0\r\n"
    requests = [f"{head}x-api-key: {key}\r\n\r\n".encode() for key in plan["keys"]]
    loop = OpenLoop(plan["host"], plan["port"], requests, plan["rate"], plan["seconds"])
    json.dump(loop.run(), sys.stdout)


if __name__ == "__main__":
    main()
