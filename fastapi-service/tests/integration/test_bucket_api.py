"""``GET /api/keys/{id}/bucket``: what a key's bucket holds now."""

from datetime import UTC, datetime, timedelta

import pytest

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(settings):
    """Without a drain, nobody but a call changes what is in Redis."""
    return settings.model_copy(update={"request_log_drain": False})


@pytest.fixture
def look(client, management):
    async def look_at(issued):
        answer = await client.get(f"/api/keys/{issued['id']}/bucket", headers=management)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return look_at


async def spend(client, issued, cost):
    answer = await client.post("/api/request", json={"cost": cost}, headers={"X-API-Key": issued["key"]})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_full_bucket_is_full_now(client, issue, look, management, redis):
    issued = await issue(requests_per_hour=60, burst=5)
    seconds, microseconds = await redis.time()
    before = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
    shown = await look(issued)
    as_of = datetime.fromisoformat(shown.pop("as_of"))
    [default] = shown.pop("limits")
    assert shown == {"limit": 5, "remaining": 5, "full_at": None, "full_in_seconds": 0}
    assert default == {
        "name": "default",
        "limit": 5,
        "remaining": 5,
        "reset_after_seconds": 0,
        "endpoint_prefix": None,
        "is_shadow": False,
    }
    assert timedelta(0) <= as_of - before < timedelta(minutes=1), "Redis's clock, in UTC"
    assert as_of.utcoffset() == timedelta(0)
    await client.delete(f"/api/keys/{issued['id']}", headers=management)
    assert (await look(issued))["remaining"] == 5, "a revoked key's can be looked at, too"


async def test_looking_spends_and_writes_nothing(client, issue, look, redis, database):
    issued = await issue(requests_per_hour=1, burst=5)
    decision = await spend(client, issued, 3)
    names = sorted(await redis.keys("rl:{*"))
    written = [await redis.dump(name) for name in names]
    for _ in range(3):
        shown = await look(issued)
        assert (shown["limit"], shown["remaining"]) == (5, 2)
        full_at, as_of = (datetime.fromisoformat(shown[name]) for name in ("full_at", "as_of"))
        until_full = full_at - as_of
        assert shown["full_in_seconds"] - 1 < until_full.total_seconds() <= shown["full_in_seconds"]
        assert 2.9 * HOUR < until_full <= 3 * HOUR
        assert shown["full_in_seconds"] <= decision["reset_after_seconds"]
    assert sorted(await redis.keys("rl:{*")) == names
    assert [await redis.dump(name) for name in names] == written
    assert database.sql("SELECT count(*) FROM audit_event WHERE action <> 'created'") == [(0,)]
    await spend(client, issued, 2)
    first, second = await look(issued), await look(issued)
    assert first["remaining"] == second["remaining"] == 0
    assert first["full_at"] == second["full_at"]
    assert first["as_of"] < second["as_of"]


async def test_rotated_keys_share_one_bucket_with_the_limits_of_the_newest(client, issue, look, management):
    old = await issue(requests_per_hour=1, burst=5)
    await spend(client, old, 1)
    path = f"/api/keys/{old['id']}/rotate"
    new = (await client.post(path, json={"grace_seconds": 60}, headers=management)).json()
    await spend(client, new, 2)
    await client.patch(f"/api/keys/{new['id']}", json={"burst": 4}, headers=management)
    for issued in (old, new):
        shown = await look(issued)
        assert (shown["limit"], shown["remaining"]) == (4, 1)


async def test_without_redis_it_is_not_available(client, issue, management, redis_server):
    issued = await issue()
    redis_server.kill()
    answer = await client.get(f"/api/keys/{issued['id']}/bucket", headers=management)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:ratelimiter:problem:limiter-unavailable"
    assert int(answer.headers["retry-after"]) >= 1


async def test_without_postgres_it_is_not_available(client, issue, management, database):
    issued = await issue()
    with database.away():
        answer = await client.get(f"/api/keys/{issued['id']}/bucket", headers=management)
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:ratelimiter:problem:unavailable"
    assert int(answer.headers["retry-after"]) >= 1
