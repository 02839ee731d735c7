"""The server's protocol, on real connections."""

import asyncio
import socket

import pytest
import uvicorn

from ratelimiter.protocol import GatheringTransport, Protocol

LARGE = b"x" * 3_000_000


async def app(scope, receive, send):
    """Answers with what the path names; ``/stream`` in parts, with a pause between."""
    if scope["type"] != "http":
        return
    parts = {"/large": [LARGE], "/stream": [b"first", b"second"]}.get(scope["path"], [scope["path"].encode()])
    if scope["method"] == "POST":
        parts = [(await receive())["body"]]
    length = sum(len(part) for part in parts)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]}
    )
    for number, part in enumerate(parts, start=1):
        await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})
        await asyncio.sleep(0.05)


@pytest.fixture
async def address(eventually):
    config = uvicorn.Config(app, http=Protocol, loop="none", lifespan="off", log_config=None, port=0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None
    serving = asyncio.ensure_future(server.serve([listening]))
    await eventually(lambda: server.started)
    yield listening.getsockname()
    server.should_exit = True
    await serving


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


async def test_pipelined_requests_are_answered_in_order(address):
    answer = await ask(address, get(b"/one"), get(b"/two"), get(b"/three", b"Connection: close"))
    assert [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"/one",
        b"/two",
        b"/three",
    ]


async def test_a_large_answer_arrives_whole_before_the_connection_closes(address):
    answer = await ask(address, get(b"/large", b"Connection: close"))
    assert answer.partition(b"\r\n\r\n")[2] == LARGE


async def test_parts_arrive_as_they_are_sent(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(get(b"/stream"))
    assert (await reader.readuntil(b"first")).endswith(b"first")
    assert await reader.readexactly(6) == b"second"
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(address):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"body")
    assert (await reader.read()).endswith(b"\r\n\r\nbody")
    writer.close()
    await writer.wait_closed()


async def test_what_is_no_http_is_told_so(address):
    assert (await ask(address, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_client_that_is_gone_disturbs_nobody(address):
    await ask(address, get(b"/large"), until_closed=False)
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
