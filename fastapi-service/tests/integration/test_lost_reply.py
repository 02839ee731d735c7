"""A reply of Redis's that is lost: Redis has decided, the worker decides once more, and one row stays."""

import httpx
import pytest
from pydantic import SecretStr

from local.ports import free_port
from ratelimiter import metrics
from tests.faults.proxy import SlowProxy

LATE_SECONDS = 1.0


@pytest.fixture
def proxy(redis_server):
    with SlowProxy(free_port(), redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def settings(settings, redis_server, proxy):
    url = redis_server.url.replace(f":{redis_server.port}/", f":{proxy.port}/")
    return settings.model_copy(
        update={"redis_url": SecretStr(url), "decision_timeout_seconds": LATE_SECONDS / 2}
    )


async def test_a_decision_that_redis_and_the_worker_made_is_one_row(
    client, issue, proxy, database, eventually
):
    key, other = (await issue(burst=1))["key"], (await issue())["key"]

    async def ask(key):
        return await client.post("/api/request", headers={"X-API-Key": key})

    async def ask_and_lose_the_reply():
        # Of another key: what it is told of the first would be remembered, and Redis not be asked again.
        await eventually(lambda: _decides(client, other), within_seconds=20)
        doubles = metrics.LOG_DOUBLES._value.get()
        proxy.delay_seconds = LATE_SECONDS
        answer = await ask(key)
        proxy.delay_seconds = 0.0
        assert answer.headers["x-ratelimit-mode"] == "local"
        await eventually(lambda: metrics.LOG_DOUBLES._value.get() == doubles + 1, within_seconds=20)
        return answer.status_code

    assert [await ask_and_lose_the_reply() for _ in range(2)] == [
        httpx.codes.OK,
        httpx.codes.TOO_MANY_REQUESTS,
    ]
    rows = database.sql("SELECT status_code, count FROM request_log ORDER BY id")
    assert rows == [(200, 1), (429, 1)]
    assert database.sql("SELECT allowed, limited FROM usage_hourly") == [(1, 1)]


async def _decides(client, key):
    answer = await client.get("/api/check", headers={"X-API-Key": key})
    return "x-ratelimit-mode" not in answer.headers
