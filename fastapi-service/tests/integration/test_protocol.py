"""The server's protocol, on real connections."""

import asyncio
import contextlib
import socket
from collections import Counter

import pytest
import uvicorn

from ratelimiter.protocol import GatheringTransport, Protocol, send_whole, split

LARGE = b"x" * 3_000_000
CLIENT_HAS_READ = asyncio.Event()
ANSWERED = Counter()


async def app(scope, receive, send):
    """Answers with what the path names, by ASGI's way; under ``/whole`` in one piece."""
    if scope["type"] != "http":
        return
    ANSWERED[scope["path"]] += 1
    whole, path = scope["path"].startswith("/whole"), scope["path"].removeprefix("/whole")
    parts = {"/large": [LARGE], "/stream": [b"first", b"second"]}.get(path, [path.encode()])
    if scope["method"] == "POST":
        parts = [(await receive())["body"]]
    length = sum(len(part) for part in parts)
    if whole:
        await send_whole(send, 200, b"content-length: %d\r\nx-name: value: 1\r\n" % length, b"".join(parts))
        return
    headers = [(b"content-length", b"%d" % length), (b"x-name", b"value: 1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number, part in enumerate(parts, start=1):
        await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})
        if number < len(parts):
            await CLIENT_HAS_READ.wait()


class WithoutAccessLog(Protocol):
    """As the server runs it; pytest gives every logger a handler, for which uvicorn looks."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.access_log = False


@pytest.fixture
async def server(eventually):
    config = uvicorn.Config(app, http=WithoutAccessLog, loop="none", lifespan="off", log_config=None, port=0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    serving = asyncio.ensure_future(server.serve([listening]))
    await eventually(lambda: server.started)
    server.address = listening.getsockname()
    yield server
    server.should_exit = True
    await serving


@pytest.fixture
async def address(server):
    return server.address


async def ask(address, *requests, until_closed=True):
    """Send the requests at once; returns all that comes back."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"".join(requests))
    answer = await asyncio.wait_for(reader.read(), 20) if until_closed else b""
    writer.close()
    await writer.wait_closed()
    return answer


def get(path, *headers):
    return b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Host: x", *headers, b"", b""])


WAYS = pytest.mark.parametrize("way", [b"", b"/whole"])


@WAYS
async def test_pipelined_requests_are_answered_in_order(address, way):
    answer = await ask(
        address, get(way + b"/one"), get(way + b"/two"), get(way + b"/three", b"Connection: close")
    )
    bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/one", b"/two", b"/three"]


@WAYS
async def test_a_large_answer_arrives_whole_before_the_connection_closes(address, way):
    answer = await ask(address, get(way + b"/large", b"Connection: close"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == LARGE
    assert b"connection: close" in head


async def test_both_ways_are_alike_to_the_byte(address):
    close = b"Connection: close"
    usual, whole = [await ask(address, get(path, close)) for path in (b"/a/whole", b"/whole/a/whole")]
    assert split(usual.partition(b"\r\n\r\n")[0])[1:] == split(whole.partition(b"\r\n\r\n")[0])[1:]
    assert usual.endswith(b"\r\n\r\n/a/whole")
    assert whole.endswith(b"\r\n\r\n/a/whole")


@WAYS
async def test_http_1_0_is_answered_and_closed(address, way):
    answer = await ask(address, b"GET %b/one HTTP/1.0\r\n\r\n" % way)
    assert answer.endswith(b"connection: close\r\n\r\n/one")


@WAYS
async def test_a_client_that_asks_on_and_on_and_never_reads_has_to_wait(address, way):
    with socket.create_connection(address) as client:
        client.setblocking(False)
        before = ANSWERED.total()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().sock_sendall(client, get(way + b"/large") * 1000)
                await asyncio.sleep(2)
        assert 1 <= ANSWERED.total() - before < 10


async def test_parts_arrive_as_they_are_sent(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get(b"/stream"))
    await reader.readuntil(b"first")
    CLIENT_HAS_READ.set()
    assert await reader.readexactly(6) == b"second"
    CLIENT_HAS_READ.clear()
    writer.close()
    await writer.wait_closed()


@WAYS
async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(address, way):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        b"POST %b/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n" % way
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"body")
    assert (await reader.read()).endswith(b"\r\n\r\nbody")
    writer.close()
    await writer.wait_closed()


async def test_what_is_no_http_is_told_so(address):
    assert (await ask(address, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


@WAYS
async def test_a_client_that_is_gone_disturbs_nobody(address, way):
    await ask(address, get(way + b"/large"), until_closed=False)
    assert (await ask(address, get(b"/one", b"Connection: close"))).endswith(b"/one")


class Recorder(asyncio.Transport):
    """Notes what it is asked to send."""

    def __init__(self):
        super().__init__()
        self.written = []
        self.closed = False

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    def pause_reading(self):
        self.written.append("paused")


async def test_what_is_written_in_one_turn_is_sent_together():
    recorder = Recorder()
    transport = GatheringTransport(recorder, asyncio.get_running_loop())
    transport.write(b"head, ")
    transport.write(b"body")
    assert recorder.written == []
    await asyncio.sleep(0)
    assert recorder.written == [b"head, body"]
    transport.write(b"last")
    transport.close()
    assert recorder.written == [b"head, body", b"last"]
    assert recorder.closed
    transport.write(b"too late")
    await asyncio.sleep(0)
    assert recorder.written == [b"head, body", b"last"]
    transport.pause_reading()
    assert recorder.written[-1] == "paused"


async def test_a_server_that_ends_still_answers_on_an_idle_connection_and_says_that_it_closes(server):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /before HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"connection: close" not in await reader.readuntil(b"/before")
    [connection] = server.server_state.connections
    connection.shutdown()
    writer.write(b"GET /after HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"connection: close" in await reader.read()
    writer.close()


async def test_a_request_that_comes_after_the_end_is_not_begun_and_sees_no_reset(server, eventually):
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /before HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"/before")
    [connection] = server.server_state.connections
    connection.shutdown()
    assert await reader.read() == b""
    writer.write(b"GET /too-late HTTP/1.1\r\nhost: x\r\n\r\n")
    await writer.drain()
    await eventually(lambda: not server.server_state.connections)
    assert reader.exception() is None
    assert not ANSWERED["/too-late"]
    writer.close()
