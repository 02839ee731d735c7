import asyncio
import os
import signal
from time import monotonic

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, RedisError, ResponseError

from ratelimiter.limiter.link import Link


def soon():
    return monotonic() + 5


@pytest.fixture
async def connection(redis):
    return await redis.connection_pool.get_connection()


@pytest.fixture
async def link(connection):
    return Link(connection)


async def reconnect(connection):
    await connection.disconnect(nowait=True)
    await connection.connect()
    return Link(connection)


async def test_replies_are_the_commands(link):
    assert await link.call(("SET", "link", 1), soon()) == b"OK"
    assert await link.call(("GET", b"link"), soon()) == b"1"
    assert await link.call(("GET", "never"), soon()) is None
    assert await link.call(("EVAL", "return {1, {2, 'x'}}", 0), soon()) == [1, [2, b"x"]]


async def test_commands_under_way_together_get_their_own_replies(link):
    replies = await asyncio.gather(*(link.call(("ECHO", number), soon()) for number in range(100)))
    assert replies == [str(number).encode() for number in range(100)]


async def test_a_reply_in_many_parts(link):
    long = "x" * 3_000_000
    assert await link.call(("ECHO", long), soon()) == long.encode()


async def test_an_error_is_raised_and_the_connection_stays(link):
    number = await link.call(("CLIENT", "ID"), soon())
    with pytest.raises(ResponseError, match="unknown command"):
        await link.call(("NONSENSE",), soon())
    with pytest.raises(NoScriptError):
        await link.call(("EVALSHA", "0" * 40, 0), soon())
    assert await link.call(("CLIENT", "ID"), soon()) == number


async def test_a_command_without_a_reply_takes_the_connection_down(redis_server, connection, link):
    pid = redis_server.process.pid
    os.kill(pid, signal.SIGSTOP)
    started = monotonic()
    try:
        patient = asyncio.create_task(link.call(("ECHO", "behind"), soon()))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await link.call(("ECHO", "late"), started + 0.1)
        with pytest.raises(TimeoutError):
            await patient
    finally:
        os.kill(pid, signal.SIGCONT)
    assert monotonic() - started < 1
    assert not link.is_open
    with pytest.raises(RedisConnectionError):
        await link.call(("ECHO", "next"), soon())
    assert await (await reconnect(connection)).call(("ECHO", "next"), soon()) == b"next"


async def test_a_deadline_holds_after_commands_with_others(link):
    for _ in range(3):
        await link.call(("ECHO", "x"), monotonic() + 0.05)
        await asyncio.sleep(0.06)
    started = monotonic()
    with pytest.raises(TimeoutError):
        await link.call(("BLPOP", "never", 5), started + 0.2)
    assert 0.2 <= monotonic() - started < 1


async def test_a_caller_that_goes_leaves_the_others_their_replies(redis, link):
    gone = asyncio.create_task(link.call(("BLPOP", "list", 5), soon()))
    stays = asyncio.create_task(link.call(("ECHO", "stays"), soon()))
    await asyncio.sleep(0.01)
    gone.cancel()
    await redis.rpush("list", "x")
    assert await stays == b"stays"


async def test_a_lost_connection_fails_the_call_and_is_made_anew(redis, connection, link):
    number = await link.call(("CLIENT", "ID"), soon())
    call = asyncio.create_task(link.call(("BLPOP", "never", 5), soon()))
    await asyncio.sleep(0.05)
    await redis.client_kill_filter(_id=number)
    with pytest.raises(RedisError, match="closed"):
        await call
    assert await (await reconnect(connection)).call(("ECHO", "next"), soon()) == b"next"


async def test_what_is_no_reply_ends_it(link):
    call = asyncio.create_task(link.call(("BLPOP", "never", 5), soon()))
    await asyncio.sleep(0)
    link.data_received(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(InvalidResponse):
        await call
    assert not link.is_open


async def test_it_closes_with_its_pool(redis, link):
    async with asyncio.timeout(1):
        await redis.connection_pool.disconnect()
    assert not link.is_open
