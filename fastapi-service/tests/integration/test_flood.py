"""A client that hammers at its limit: denied from memory, recorded exactly, and let in when it may."""

import asyncio
from collections import Counter

import httpx
import pytest
from asgi_lifespan import LifespanManager

from ratelimiter.app import create_app
from ratelimiter.request_log.coalescer import SINGLE_RECORDS


@pytest.fixture
def long_memory(monkeypatch):
    """Denials are remembered for a minute, so that one which ends sooner was ended."""
    monkeypatch.setattr("ratelimiter.limiter.denials.MAX_AGE_SECONDS", 60.0)


@pytest.fixture
async def other(settings):
    """A client of a second worker on the same servers."""
    application = create_app(settings)
    async with LifespanManager(application, startup_timeout=30, shutdown_timeout=30):
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://other.test") as http:
            yield http


async def status(client, key, **body):
    return (await client.post("/api/request", json=body, headers={"X-API-Key": key})).status_code


async def flood(client, key, count, **body):
    """So many requests, 20 at a time; how they were answered."""
    answers = Counter()
    for _ in range(count // 20):
        answers.update(await asyncio.gather(*(status(client, key, **body) for _ in range(20))))
    return answers


async def test_a_flood_is_counted_to_the_last_request_in_few_rows(client, issue, database, redis, eventually):
    key = (await issue(requests_per_hour=1, burst=3))["key"]
    began = asyncio.get_running_loop().time()
    answers = await flood(client, key, 600, endpoint="/v1/orders")
    seconds = asyncio.get_running_loop().time() - began
    assert answers == {200: 3, 429: 597}
    counted = "SELECT sum(count) FROM request_log WHERE status_code = 429"
    await eventually(lambda: database.sql(counted) == [(597,)])
    [(rows,)] = database.sql("SELECT count(*) FROM request_log WHERE status_code = 429")
    # In a second: those that fill the cache, which came together, the single ones, and the rest in one.
    assert rows <= (seconds + 2) * (20 + SINGLE_RECORDS + 1)
    assert database.sql("SELECT allowed, limited, cost FROM usage_hourly") == [(3, 597, 3)]
    [evalsha] = [v["calls"] for k, v in (await redis.info("commandstats")).items() if k == "cmdstat_evalsha"]
    assert evalsha < 600


async def test_what_is_counted_is_recorded_when_the_worker_stops(
    settings, app, client, issue, database, eventually
):
    key = (await issue(requests_per_hour=1, burst=1))["key"]
    application = create_app(settings.model_copy(update={"request_log_drain": False}))
    async with LifespanManager(application, startup_timeout=30, shutdown_timeout=30):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://stopping.test") as stopping:
            answers = await flood(stopping, key, 200)
    counted = "SELECT status_code, sum(count) FROM request_log GROUP BY 1"
    await eventually(lambda: dict(database.sql(counted)) == answers)


async def test_a_reset_ends_it_in_every_worker(client, other, issue, management, long_memory, eventually):
    issued = await issue(requests_per_hour=1, burst=2)
    key = issued["key"]
    assert [await status(each, key) for each in (client, other, client, other)] == [200, 200, 429, 429]
    assert [await status(each, key) for each in (client, other)] == [429, 429]
    answer = await client.post(f"/api/keys/{issued['id']}/reset", headers=management)
    assert answer.status_code == 204
    assert await status(client, key) == 200

    async def admitted():
        return await status(other, key) == 200

    await eventually(admitted)


@pytest.mark.parametrize(
    "limits", [{"requests_per_hour": 3_600_000}, {"tier": "enterprise", "requests_per_hour": None}]
)
async def test_other_limits_end_it(client, issue, management, long_memory, eventually, limits):
    issued = await issue(tier="free", burst=1, requests_per_hour=1)
    assert [await status(client, issued["key"]) for _ in range(3)] == [200, 429, 429]
    changed = await client.patch(f"/api/keys/{issued['id']}", json=limits, headers=management)
    assert changed.status_code == 200

    async def admitted():
        return await status(client, issued["key"]) == 200

    await eventually(admitted)


async def test_a_revoked_key_is_refused_however_long_it_was_denied(
    client, issue, management, long_memory, eventually
):
    issued = await issue(requests_per_hour=1, burst=1)
    assert [await status(client, issued["key"]) for _ in range(3)] == [200, 429, 429]
    await client.delete(f"/api/keys/{issued['id']}", headers=management)

    async def refused():
        return await status(client, issued["key"]) == 403

    await eventually(refused)


async def test_what_is_denied_from_memory_while_redis_is_away_is_recorded_once_it_is_back(
    client, issue, redis_server, database, long_memory, eventually
):
    issued = await issue(requests_per_hour=1, burst=1)
    # The news that a key is new, which ends what is remembered, may come late.
    for _ in range(200):
        assert await status(client, issued["key"]) in {200, 429}
        await asyncio.sleep(0.002)
    counted = "SELECT status_code, sum(count) FROM request_log GROUP BY 1 ORDER BY 1"
    await eventually(lambda: database.sql(counted) == [(200, 1), (429, 199)])
    port = redis_server.port
    redis_server.kill()
    for _ in range(30):
        assert await status(client, issued["key"]) == 429
    redis_server.start(port=port)
    await eventually(lambda: database.sql(counted) == [(200, 1), (429, 229)], 20)
