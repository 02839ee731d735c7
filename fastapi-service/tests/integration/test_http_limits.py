"""The limits of a connection, on a real server; tests/abuse attacks the whole service."""

import asyncio
import contextlib
import gc
import json
import logging
import socket
from functools import partial
from time import monotonic

import pytest
import pytest_asyncio
import uvicorn

from ratelimiter import metrics
from ratelimiter.http_limits import MAX_HEADERS, MAX_PIPELINED, HttpLimits, LimitedProtocol, Sweep
from ratelimiter.protocol import send_response

LIMITS = HttpLimits(header_bytes=2048, header_seconds=0.5, idle_seconds=1.5, connections=20)
pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = b"x" * 30_000_000
HOST = b"Host: x\r\n"
SERVED = []
SLOW_SECONDS = 0.7
"""Longer than headers may take."""


async def app(scope, receive, send):
    """Answers with its body, read to its end; under /unread without it, under /large with much."""
    path = scope["path"]
    body, more = b"", path == "/echo"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message["more_body"]
    SERVED.append((path, scope["headers"]))
    if path == "/slow":
        await asyncio.sleep(SLOW_SECONDS)
    body = LARGE if path == "/large" else body
    await send_response(send, 200, [(b"content-length", b"%d" % len(body))], body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(eventually):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ratelimiter.http_limits.SWEEP_SECONDS", 0.05)
        protocol = partial(LimitedProtocol, sweep=Sweep(LIMITS))
        config = uvicorn.Config(app, http=protocol, loop="none", ws="none", lifespan="off", log_config=None)
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        serving = asyncio.ensure_future(server.serve([listening]))
        await eventually(lambda: server.started)
        server.address = listening.getsockname()
        yield server
        server.should_exit = True
        await serving


@pytest_asyncio.fixture(loop_scope="module")
async def server(running, eventually, caplog):
    """The server; after each test nothing is left of its connections."""
    SERVED.clear()
    yield running
    state = running.server_state
    await eventually(lambda: not state.connections and not state.tasks)
    assert not [line for line in caplog.records if line.levelno >= logging.WARNING]


@contextlib.asynccontextmanager
async def connected(server):
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(server, *parts):
    """Send the parts; returns all that comes until the connection is closed."""
    async with connected(server) as (reader, writer):
        for part in parts:
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        return await rest(reader)


async def rest(reader):
    answer = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(10):
            while part := await reader.read(65_536):
                answer += part
    return answer


def problem(answer):
    """The status and the problem's slug of an answer, which is the only one and closes its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    document = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % document["status"])
    return document["status"], document["type"].rpartition(":")[2]


def counted(slug):
    return metrics.HTTP_REFUSALS.labels(slug)._value.get()


def post(*headers, body=b""):
    return b"POST /echo HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + body


def get(path=b"/", *headers):
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in headers) + b"\r\n"


NO_REQUESTS = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "words": b"nonsense\r\n\r\n",
    "http-0.9": b"GET /\r\n\r\n",
    "http-0.9-named": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "http-2": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no-host": b"GET / HTTP/1.1\r\n\r\n",
    "two-hosts": get(b"/", b"Host: y"),
    "two-hosts-1.0": b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
    "null-in-path": b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "null-in-header": get(b"/", b"A: \0"),
    "bytes-in-path": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad-url": b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
    "connect": b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "no-colon": get(b"/", b"nonsense"),
    "no-name": get(b"/", b": value"),
    "space-before-colon": get(b"/", b"Transfer-Encoding : chunked"),
    "folded": get(b"/", b"A: b\r\n c"),
    "bare-line-feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare-return": get(b"/", b"A: b\rC: d"),
    "length-and-chunks": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunks-and-length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "two-lengths": post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"),
    "one-length-twice": post(b"Content-Length: 5, 5", body=b"hello"),
    "signed-length": post(b"Content-Length: +5", body=b"hello"),
    "negative-length": post(b"Content-Length: -5", body=b"hello"),
    "hexadecimal-length": post(b"Content-Length: 0x5", body=b"hello"),
    "empty-length": post(b"Content-Length:", body=b"hello"),
    "endless-length": post(b"Content-Length: " + b"9" * 30, body=b"hello"),
    "chunks-in-1.0": b"POST /echo HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-not-last": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "hidden-chunked": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunk-size-no-number": post(b"Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "chunk-size-negative": post(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n"),
    "chunk-size-endless": post(b"Transfer-Encoding: chunked", body=b"f" * 20 + b"\r\n\r\n"),
    "chunk-longer-than-said": post(b"Transfer-Encoding: chunked", body=b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk-with-bare-line-feed": post(b"Transfer-Encoding: chunked", body=b"3\nabc\n0\n\n"),
}


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_what_is_no_request_is_answered_400_and_never_served(server, sent):
    before = counted("bad-request")
    assert problem(await ask(server, sent)) == (400, "bad-request")
    assert SERVED == []
    assert counted("bad-request") == before + 1


async def test_a_bad_request_does_not_answer_for_the_good_one_before_it(server):
    answer = await ask(server, get(b"/slow"), b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_smuggled_request_is_never_served(server):
    inner = get(b"/smuggled")
    await ask(
        server,
        b"POST /unread HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: %d\r\n" % (len(inner) + 5)
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + inner,
    )
    assert SERVED == []


@pytest.mark.parametrize(
    "head",
    [
        get(b"/", b"A: " + b"a" * 3000),
        get(b"/" + b"a" * 3000),
        get(b"/", *[b"A%d: b" % number for number in range(300)]),
        get(b"/", *[b"A: b"] * MAX_HEADERS),
        b"GET / HTTP/1.1\r\nA: " + b"a" * 3000,
    ],
    ids=["one-long", "long-path", "bytes", "number", "never-ending"],
)
@pytest.mark.parametrize("size", [None, 700], ids=["at-once", "in-parts"])
async def test_a_large_head_is_answered_431(server, head, size):
    parts = [head] if size is None else [head[i : i + size] for i in range(0, len(head), size)]
    assert problem(await ask(server, *parts)) == (431, "head-too-large")
    assert SERVED == []


async def test_a_head_within_the_limits_is_served_in_whatever_parts_it_comes(server):
    head = get(b"/", b"A: " + b"a" * 1900, b"Connection: close")
    assert (await ask(server, *[head[i : i + 1] for i in range(len(head))])).startswith(b"HTTP/1.1 200 ")
    assert (await ask(server, get() * 30 + head)).count(b"HTTP/1.1 200 ") == 31


async def send_in_parts(server, *parts):
    """Send the parts, each after the one before it was taken; returns all that comes."""
    async with connected(server) as (reader, writer):
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.05)
        return await rest(reader)


@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n"], ids=["apart", "in-one-piece"])
async def test_the_body_before_a_head_is_none_of_it(server, behind):
    unread = b"POST /unread HTTP/1.1\r\n" + HOST + b"Content-Length: 20000\r\n\r\n"
    head = get(b"/", b"A: " + b"a" * 1900, b"Connection: close").removeprefix(behind)
    answer = await send_in_parts(server, unread, b"b" * 20_000 + behind, head[:1000], head[1000:])
    assert answer.count(b"HTTP/1.1 200 ") == 2


async def test_a_large_head_behind_another_request_is_answered_431(server):
    head = get(b"/large", b"A: " + b"a" * 2100)
    answer = await send_in_parts(server, get(b"/first") + head[:1000], head[1000:])
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 431 " in answer
    answer = await send_in_parts(server, get(b"/first") + get()[:-2] + b"A: ", *[b"a" * 1000] * 3)
    assert b"HTTP/1.1 431 " in answer
    assert [path for path, _ in SERVED] == ["/first"] * 2


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET / HTTP/1.1\r\n"], ids=["silent", "blank", "begun"])
async def test_a_head_that_does_not_come_in_time_ends_the_connection(server, begun):
    async with connected(server) as (reader, writer):
        began = monotonic()
        writer.write(begun)
        byte = b"X" if len(begun) > 2 else begun
        dribbling = asyncio.ensure_future(dribble(writer, byte))
        answer = await rest(reader)
        assert monotonic() - began >= LIMITS.header_seconds
        dribbling.cancel()
    if len(begun) > 2:
        assert problem(answer) == (408, "head-too-slow")
    else:
        assert answer == b""


async def dribble(writer, byte):
    while True:
        await asyncio.sleep(0.05)
        writer.write(byte)


async def test_a_connection_that_is_idle_for_too_long_is_closed_and_not_before(server):
    async with connected(server) as (reader, writer):
        for _ in range(3):
            await asyncio.sleep(LIMITS.idle_seconds / 4)
            writer.write(get())
            await reader.readuntil(b"\r\n\r\n")
            answered = monotonic()
        assert await rest(reader) == b""
        assert monotonic() - answered >= 0.9 * LIMITS.idle_seconds


async def test_a_request_that_takes_long_is_not_ended(server):
    assert (await ask(server, get(b"/slow", b"Connection: close"))).startswith(b"HTTP/1.1 200 ")


async def test_a_connection_too_many_is_answered_503_and_room_is_made_by_who_leaves(server, eventually):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            await stack.enter_async_context(connected(server))
        await eventually(lambda: len(server.server_state.connections) == LIMITS.connections)
        answer = await ask(server)
        assert problem(answer) == (503, "too-many-connections")
        assert b"Retry-After: 1\r\n" in answer
    await eventually(lambda: not server.server_state.connections)
    assert (await ask(server, get(b"/", b"Connection: close"))).startswith(b"HTTP/1.1 200 ")


async def test_as_many_requests_as_may_wait_are_answered_then_the_connection_ends(server):
    answer = await ask(server, get() * (MAX_PIPELINED + 1))
    assert answer.count(b"HTTP/1.1 200 ") == MAX_PIPELINED + 1
    answer = await ask(server, get(b"/slow") + get() * 10 * MAX_PIPELINED)
    assert answer.count(b"HTTP/1.1 200 ") == MAX_PIPELINED + 1
    assert answer.count(b"HTTP/1.1") == MAX_PIPELINED + 1


async def test_an_answer_that_is_not_read_is_not_kept(server, eventually, monkeypatch):
    monkeypatch.setattr("ratelimiter.http_limits.ANSWER_SECONDS", 1.0)
    before = counted("answer-unread")
    async with connected(server) as (_, writer):
        writer.write(get(b"/large"))
        await eventually(lambda: counted("answer-unread") == before + 1)


async def test_an_answer_that_is_read_slowly_arrives_whole(server, monkeypatch):
    monkeypatch.setattr("ratelimiter.http_limits.ANSWER_SECONDS", 1.0)
    async with connected(server) as (reader, writer):
        writer.write(get(b"/large", b"Connection: close"))
        received, began = 0, monotonic()
        while part := await reader.read(300_000):
            received += len(part)
            await asyncio.sleep(0.02)
        assert monotonic() - began > 2.0
        assert received > len(LARGE)


async def test_unread_answers_are_dropped_at_once_when_they_are_too_much(server, eventually, monkeypatch):
    monkeypatch.setattr("ratelimiter.http_limits.ANSWER_SECONDS", 3600.0)
    monkeypatch.setattr("ratelimiter.http_limits.MAX_UNREAD_BYTES", 1)
    before = counted("answer-unread")
    async with connected(server) as (_, writer):
        writer.write(get(b"/large"))
        await eventually(lambda: counted("answer-unread") == before + 1)


async def test_a_body_that_nobody_reads_may_not_go_on(server):
    async with connected(server) as (reader, writer):
        writer.write(b"POST /unread HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        with pytest.raises(ConnectionError):
            await send_on_and_on(writer)


async def send_on_and_on(writer):
    for _ in range(10_000):
        writer.write(b"x" * 10_000)
        await writer.drain()


async def test_trailers_are_dropped_and_bounded(server):
    chunked = post(b"Transfer-Encoding: chunked", b"Connection: close")
    assert (await ask(server, chunked + b"0\r\nX-API-Key: of-another\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert b"x-api-key" not in dict(SERVED[0][1])
    assert problem(await ask(server, chunked + b"0\r\n" + b"a: b\r\n" * 20_000)) == (413, "body-too-large")


async def test_who_asks_for_another_protocol_is_answered_and_closed(server):
    answer = await ask(server, get(b"/one", b"Connection: upgrade", b"Upgrade: websocket"), get(b"/two"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [path for path, _ in SERVED] == ["/one"]


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_who_leaves_early_leaves_nothing_behind(server, eventually, is_reset):
    stages = [
        b"",
        b"GET",
        get(b"/")[:-2],
        get(b"/slow"),
        get(b"/slow") + get(b"/"),
        get(b"/large"),
        post(b"Content-Length: 100", body=b"part"),
        post(b"Transfer-Encoding: chunked", body=b"5\r\nhe"),
    ]
    clients = [socket.create_connection(server.address) for _ in stages]
    await eventually(lambda: len(server.server_state.connections) == len(stages))
    for client, sent in zip(clients, stages, strict=True):
        client.sendall(sent)
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await eventually(lambda: server.server_state.tasks)
    for client in clients:
        client.close()
    await eventually(lambda: not server.server_state.connections and not server.server_state.tasks)
    gc.collect()
    assert not [left for left in gc.get_objects() if isinstance(left, LimitedProtocol)]
