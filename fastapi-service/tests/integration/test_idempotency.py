"""An idempotency key where a plan, a quota or an edit meets it, and what is no such key."""

import httpx
import pytest
from asgi_lifespan import LifespanManager
from prometheus_client import REGISTRY

from ratelimiter.app import create_app

ONCE = {"Idempotency-Key": "order-1"}


async def ask(client, key, cost=1, headers=ONCE, endpoint="/x"):
    lines = [("X-API-Key", key), *(headers.items() if isinstance(headers, dict) else headers)]
    return await client.post("/api/request", json={"endpoint": endpoint, "cost": cost}, headers=lines)


def is_replayed(answer):
    return answer.headers.get("idempotency-replayed") == "true"


async def test_the_first_use_of_a_quota_may_have_one(add_limit, client, issue):
    """Of a quota that Redis knows nothing of, since it began after the month did."""
    openings = REGISTRY.get_sample_value("rate_limit_breaker_openings_total")
    add_limit("monthly", requests=10, period="month")
    key = (await issue())["key"]
    first, again = await ask(client, key), await ask(client, key)
    assert [limit["remaining"] for limit in first.json()["limits"]] == [99, 9]
    assert again.json() == first.json()
    assert is_replayed(again)
    assert REGISTRY.get_sample_value("rate_limit_breaker_openings_total") == openings


async def test_it_is_answered_as_at_first_whatever_became_of_the_limits(
    add_limit, app, client, issue, database, eventually, management
):
    add_limit("tried", requests=10, window_seconds=3600, is_shadow=True)
    add_limit("hourly", requests=1000, window_seconds=3600)
    issued = await issue()
    first = await ask(client, issued["key"], cost=50)
    assert first.status_code == 200

    async def names():
        answer = await client.get(f"/api/keys/{issued['id']}/bucket", headers=management)
        return [(limit["name"], limit["limit"], limit["is_shadow"]) for limit in answer.json()["limits"][1:]]

    async def is_in_force(sql, expected):
        database.sql(sql)

        async def is_known():
            look = (await client.get("/api/check", headers={"X-API-Key": issued["key"]})).json()
            told = [(limit["name"], limit["limit"]) for limit in look.get("limits", [])[1:]]
            return told == [(name, limit) for name, limit, is_shadow in expected if not is_shadow]

        await eventually(is_known)
        assert await names() == expected

    tried, hourly = ("tried", 100, False), ("hourly", 1000, False)
    for sql, expected in (
        ("UPDATE tier_limit SET is_shadow = false, requests = 100 WHERE name = 'tried'", [tried, hourly]),
        ("UPDATE tier_limit SET requests = 2 WHERE name = 'hourly'", [tried, ("hourly", 2, False)]),
        ("DELETE FROM tier_limit WHERE name = 'tried'", [("hourly", 2, False)]),
        (
            "UPDATE tier_limit SET period = 'day', window_seconds = NULL, requests = 7",
            [("hourly", 7, False)],
        ),
    ):
        await is_in_force(sql, expected)
        again = await ask(client, issued["key"], cost=50)
        assert (again.status_code, is_replayed(again)) == (200, True), sql
        default = (again.json().get("limits") or [again.json()])[0]
        assert (default["limit"], default["remaining"]) == (100, 50), sql

    path = f"/api/keys/{issued['id']}"
    assert (await client.patch(path, json={"burst": 3}, headers=management)).status_code == 200

    async def is_refused():
        return (await ask(client, issued["key"], cost=50, headers={})).json().get("errors") == [
            {"field": "cost", "message": "must be at most the burst, 3"}
        ]

    await eventually(is_refused)
    again = await ask(client, issued["key"], cost=50)
    assert (again.status_code, is_replayed(again)) == (200, True)
    other = await ask(client, issued["key"], cost=50, headers={"Idempotency-Key": "order-2"})
    assert other.status_code == 422
    other = await ask(client, issued["key"], cost=51)
    assert other.json()["type"] == "urn:ratelimiter:problem:idempotency-key-reused"


async def test_it_belongs_to_a_chain_of_rotations_and_to_all_workers(
    app, client, settings, issue, management
):
    old, stranger = await issue(burst=10), await issue(burst=10)
    first = await ask(client, old["key"], cost=2)
    path = f"/api/keys/{old['id']}/rotate"
    new = (await client.post(path, json={"grace_seconds": 60}, headers=management)).json()
    application = create_app(settings)
    async with LifespanManager(application, startup_timeout=30, shutdown_timeout=30):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://other.test") as other:
            again = await ask(other, new["key"], cost=2)
    assert is_replayed(again)
    assert again.json() == first.json()
    assert not is_replayed(await ask(client, stranger["key"], cost=2))


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "must be sent once"),
        ([("Idempotency-Key", "a"), ("idempotency-key", "a")], "must be sent once"),
        ({"Idempotency-Key": '"' + '\\"' * 256 + '"'}, "must be 1 to 255 visible"),
    ],
)
async def test_what_is_not_one_key_is_refused(client, issue, headers, said):
    key = (await issue())["key"]
    answer = await ask(client, key, headers=headers)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == "Idempotency-Key"
    assert said in error["message"]
    for text in ("a", "x" * 255, '"' + '\\"' * 255 + '"', '" "', "a,b"):
        assert (await ask(client, key, headers={"Idempotency-Key": text})).status_code == 200
    assert (await client.get("/api/check", headers={"X-API-Key": key})).json()["remaining"] == 95
