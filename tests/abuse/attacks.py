"""The attacks: ``python -m tests.abuse.attacks PORT NAME CLIENTS [NAME CLIENTS …]``.

They run in a process of their own, so that they slow down no good client, until its standard input ends. Then
it prints how many requests they sent, or connections they opened.
"""

import asyncio
import contextlib
import itertools
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from local.ports import LOOPBACK
from ratelimiter.keys import credentials

KEY_VARIABLE: Final = "ABUSED_KEY"
"""The key that floods; a process's environment is its own, its command line everyone's."""
CLIENTS: Final = 20
PER_SECOND: Final = 300.0
"""Requests of all clients of a flood; three times what the good ones send."""
HELD: Final = 10_000

_GARBAGE: Final = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/request HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
)
_LARGE: Final = b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 60_000
_BEGUN: Final = (
    b"POST /api/request HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Length: 100\r\n\r\nhalf a bo"
)

Count = Callable[[], None]
Client = Callable[[int, str, Count], Awaitable[None]]


def _flood(make_key: Callable[[str], str]) -> Client:
    """Asks again and again on one connection."""

    async def client(port: int, key: str, count: Count) -> None:
        async with _connected(port) as (reader, writer):
            while True:
                writer.write(
                    b"POST /api/request HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Length: 0\r\n\r\n"
                    % make_key(key).encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                count()
                await asyncio.sleep(CLIENTS / PER_SECOND)

    return client


def _visit(*sent: bytes, reads: bool) -> Client:
    """Sends something on a new connection each time, and reads the answer or is gone."""
    turns = itertools.cycle(sent)

    async def client(port: int, key: str, count: Count) -> None:
        request = next(turns)
        async with _connected(port) as (reader, writer):
            writer.write(request.replace(b"%b", key.encode()))
            await writer.drain()
            count()
            if reads:
                await reader.read()
        await asyncio.sleep(CLIENTS / PER_SECOND)

    return client


def _hold(sent: bytes, drip: bytes) -> Client:
    """Keeps a connection and says next to nothing, for as long as it is let."""

    async def client(port: int, _: str, count: Count) -> None:
        async with _connected(port) as (reader, writer):
            count()
            writer.write(sent)
            while drip and not reader.at_eof():
                await asyncio.sleep(1)
                writer.write(drip)
            await reader.read()

    return client


@dataclass(frozen=True)
class Attack:
    """What each of so many clients does, over and over; some with the key that they are given."""

    name: str
    client: Client
    clients: int = CLIENTS
    is_hold: bool = False
    """Whether it has begun only when all its connections are open."""


ATTACKS: Final = (
    Attack("random keys", _flood(lambda _: secrets.token_urlsafe(40))),
    Attack("unknown keys", _flood(lambda _: credentials.generate())),
    Attack("one key at its limit", _flood(lambda key: key)),
    Attack("garbage", _visit(*_GARBAGE, reads=True)),
    Attack("large headers", _visit(_LARGE, reads=True)),
    Attack("early leavers", _visit(b"", b"POST /api/re", _BEGUN, reads=False)),
    Attack("slow headers", _hold(b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b"a"), clients=500, is_hold=True),
    Attack("idle connections", _hold(b"", b""), clients=HELD, is_hold=True),
)


class Attacker:
    """Attacks while the context lasts; ``sent`` is known after it."""

    def __init__(self, attacks: Sequence[Attack], port: int, key: str) -> None:
        self.sent = 0
        names_and_clients = (word for attack in attacks for word in (attack.name, str(attack.clients)))
        self._command = [sys.executable, "-m", "tests.abuse.attacks", str(port), *names_and_clients]
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), KEY_VARIABLE: key}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        output, _ = self._process.communicate(timeout=60)
        self.sent = int(output)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _attack(attacks: list[Attack], port: int, key: str) -> int:
    sent, begun = 0, asyncio.Event()
    held = sum(attack.clients for attack in attacks if attack.is_hold)

    def count() -> None:
        nonlocal sent
        sent += 1
        if sent >= held:
            begun.set()

    async def go_on(attack: Attack, number: int) -> None:
        # Not all at once: the kernel's queue of new connections would drop them for seconds.
        await asyncio.sleep(number / 5000)
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await attack.client(port, key, count)
            await asyncio.sleep(0.05)

    tasks = [
        asyncio.ensure_future(go_on(attack, number)) for attack in attacks for number in range(attack.clients)
    ]
    await begun.wait()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sent


def main() -> None:
    """Attack until nobody holds the other end of standard input."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _, port, *words = sys.argv
    named = {attack.name: attack for attack in ATTACKS}
    attacks = [
        replace(named[name], clients=int(clients))
        for name, clients in zip(words[::2], words[1::2], strict=True)
    ]
    sys.stdout.write(str(asyncio.run(_attack(attacks, int(port), os.environ[KEY_VARIABLE]))))


if __name__ == "__main__":
    main()
