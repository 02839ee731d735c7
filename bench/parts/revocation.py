"""From sending a revocation until the last of four workers refuses the key.

One connection to each worker asks for the key's quota every 2 ms: first 200, then 403. Which worker a
connection leads to is read from the operating system.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, Self

import psutil

from bench.errors import BenchError
from bench.instance import Instance
from bench.parts import Bench, Json, Options
from bench.processes import descendants, is_drain
from bench.ratios import percentile
from bench.stack import Key
from local.ports import LOOPBACK

NAME: Final = "revocation"
TITLE: Final = "A revocation, at 4 workers"
WORKERS: Final = 4
TRIALS: Final = 100
_POLL_SECONDS: Final = 0.002
_DEADLINE_SECONDS: Final = 10.0
_CONNECTIONS_TRIED: Final = 400
_OK: Final = 200
_REVOKED: Final = 403
_NO_CONTENT: Final = 204


def estimate(_options: Options) -> float:
    """Seconds that it takes."""
    return 12.0 + TRIALS * 0.15


def run(bench: Bench) -> Json:
    """Measure; milliseconds of each trial, ascending."""
    bench.screen.step("starting four workers", 12.0)
    with Instance(bench.stack, NAME, workers=WORKERS) as instance:
        trials = asyncio.run(_measure(bench, instance))
    ordered = sorted(trials)
    return {
        "trials_ms": ordered,
        "p50_ms": percentile(ordered, 0.5),
        "p99_ms": percentile(ordered, 0.99),
        "max_ms": ordered[-1],
    }


class Connection:
    """A bare connection that stays open: one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(LOOPBACK, port))

    @property
    def local_port(self) -> int:
        """Our end's port, by which the operating system knows the other end's owner."""
        return int(self._writer.get_extra_info("sockname")[1])

    async def ask(self, method: str, path: str, header: str) -> int:
        """Send a request without a body; returns the answer's status."""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nhost: {LOOPBACK}\r\n{header}\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.find(b"content-length: ")
        if at >= 0:
            await self._reader.readexactly(int(head[at + 16 : head.find(b"\r", at)]))
        return int(head[9:12])

    def close(self) -> None:
        """End it."""
        self._writer.close()


async def _measure(bench: Bench, instance: Instance) -> list[float]:
    with ExitStack() as exits:
        workers = await _one_to_each(instance, exits)
        management = await Connection.open(instance.port)
        exits.callback(management.close)
        trials = []
        for number, key in enumerate(bench.stack.revocable[:TRIALS], start=1):
            bench.screen.step(f"{number} of {TRIALS}", 0.15)
            trials.append(await _trial(workers, management, key, instance.token))
        return trials


async def _trial(workers: Sequence[Connection], management: Connection, key: Key, token: str) -> float:
    """Milliseconds from sending the revocation until the last worker has answered 403."""
    header = f"x-api-key: {key.secret}"
    for worker in workers:
        status = await worker.ask("GET", "/api/check", header)
        if status != _OK:
            raise BenchError(f"A key that is to be revoked was answered {status}.")
    refused = [asyncio.create_task(_refused_at(worker, header)) for worker in workers]
    await asyncio.sleep(_POLL_SECONDS * 5)
    began = time.perf_counter()
    status = await management.ask("DELETE", f"/api/keys/{key.id}", f"authorization: Bearer {token}")
    if status != _NO_CONTENT:
        raise BenchError(f"The revocation was answered {status}.")
    return (max(await asyncio.gather(*refused)) - began) * 1000


async def _refused_at(worker: Connection, header: str) -> float:
    deadline = time.perf_counter() + _DEADLINE_SECONDS
    while True:
        status = await worker.ask("GET", "/api/check", header)
        now = time.perf_counter()
        if status == _REVOKED:
            return now
        if status != _OK or now > deadline:
            raise BenchError(f"A revoked key was answered {status} after {_DEADLINE_SECONDS:.0f} s at most.")
        await asyncio.sleep(_POLL_SECONDS)


async def _one_to_each(instance: Instance, exits: ExitStack) -> list[Connection]:
    """A connection to each worker. Raises `BenchError` when some worker accepts none."""
    found: dict[int, Connection] = {}
    for _ in range(_CONNECTIONS_TRIED):
        connection = await Connection.open(instance.port)
        exits.callback(connection.close)
        await connection.ask("GET", "/health/live", "accept: */*")  # so that it has been accepted
        owner = _owner(instance, connection.local_port)
        if owner is not None:
            found.setdefault(owner, connection)
        if len(found) == WORKERS:
            return list(found.values())
    raise BenchError(f"{_CONNECTIONS_TRIED} connections reached {len(found)} of {WORKERS} workers.")


def _owner(instance: Instance, port: int) -> int | None:
    """The process at the other end of a connection."""
    for process in descendants(instance.pid):
        if is_drain(process):
            continue
        for socket in process.net_connections(kind="tcp"):
            if socket.raddr and socket.raddr.port == port and socket.status == psutil.CONN_ESTABLISHED:
                return int(process.pid)
    return None
