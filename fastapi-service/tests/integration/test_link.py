import asyncio
import os
import signal
from time import monotonic

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from ratelimiter.limiter.link import Link


def soon():
    return monotonic() + 5


@pytest.fixture
async def link(redis):
    link = Link(redis)
    await link.connect(soon())
    return link


async def connections(redis):
    return {client["id"] for client in await redis.client_list()}


async def test_replies_are_the_commands(link):
    assert await link.call(("SET", "link", 1), soon()) == b"OK"
    assert await link.call(("GET", b"link"), soon()) == b"1"
    assert await link.call(("GET", "never"), soon()) is None
    assert await link.call(("EVAL", "return {1, {2, 'x'}}", 0), soon()) == [1, [2, b"x"]]


async def test_a_reply_in_many_parts(link):
    long = "x" * 3_000_000
    assert await link.call(("ECHO", long), soon()) == long.encode()


async def test_an_error_is_raised_and_the_connection_stays(redis, link):
    before = await connections(redis)
    with pytest.raises(ResponseError, match="unknown command"):
        await link.call(("NONSENSE",), soon())
    with pytest.raises(NoScriptError):
        await link.call(("EVALSHA", "0" * 40, 0), soon())
    assert await link.call(("ECHO", "x"), soon()) == b"x"
    assert await connections(redis) == before


async def test_a_reply_that_comes_too_late_is_nobodys(redis_server, link):
    pid = redis_server.process.pid
    os.kill(pid, signal.SIGSTOP)
    started = monotonic()
    try:
        with pytest.raises(TimeoutError):
            await link.call(("ECHO", "late"), monotonic() + 0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert monotonic() - started < 1
    with pytest.raises(RedisConnectionError):
        await link.call(("ECHO", "next"), soon())
    await link.connect(soon())
    assert await link.call(("ECHO", "next"), soon()) == b"next"


async def test_connecting_ends_at_the_deadline(redis_server, redis):
    link = Link(redis)
    pid = redis_server.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            await link.connect(monotonic() + 0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    await link.connect(soon())
    assert await link.call(("ECHO", "x"), soon()) == b"x"


async def test_a_caller_that_goes_leaves_no_reply_behind(link):
    call = asyncio.create_task(link.call(("BLPOP", "never", 5), soon()))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await link.connect(soon())
    assert await link.call(("ECHO", "next"), soon()) == b"next"


async def test_a_lost_connection_fails_the_call_and_is_made_anew(redis, link):
    number = await link.call(("CLIENT", "ID"), soon())
    call = asyncio.create_task(link.call(("BLPOP", "never", 5), soon()))
    await asyncio.sleep(0.05)
    await redis.client_kill_filter(_id=number)
    with pytest.raises(RedisError, match="closed"):
        await call
    await link.connect(soon())
    assert await link.call(("ECHO", "next"), soon()) == b"next"


async def test_it_closes_with_its_client(redis, redis_server):
    link = Link(redis)
    await link.connect(soon())
    async with asyncio.timeout(1):
        await redis.aclose()
        await redis.connection_pool.disconnect()
    with pytest.raises(RedisConnectionError):
        await link.call(("ECHO", "x"), soon())
