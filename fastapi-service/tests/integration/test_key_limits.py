"""The further limits of a key in the management API: what is in force, and the key's own numbers."""

import pytest
from sqlalchemy import create_engine, event

from ratelimiter.database import sqlalchemy_url
from ratelimiter.keys.management import KeyManager, Origin

TIER = {
    "second": {"requests": 10, "window_seconds": 1, "burst": 20},
    "monthly": {"requests": 100_000, "period": "month"},
    "exports": {"requests": 20, "window_seconds": 3600, "endpoint_prefix": "/v1/exports", "is_shadow": True},
}


def shown(name, *, is_own=False, **numbers):
    """A limit as an answer has it."""
    nothing = dict.fromkeys(("window_seconds", "burst", "period", "endpoint_prefix"))
    return {"name": name, "is_shadow": False, "is_own": is_own} | nothing | TIER[name] | numbers


@pytest.fixture
def plan(add_limit):
    for name, columns in TIER.items():
        add_limit(name, **columns)


async def test_a_key_lists_the_limits_in_force(plan, client, issue, management, database):
    issued = await issue()
    plain = [shown("second"), shown("monthly"), shown("exports", burst=20)]
    assert issued["limits"] == plain
    for own in (("monthly", 5000, None), ("second", 30, None), ("gone", 1, 1)):
        database.sql(
            "INSERT INTO key_limit (api_key_id, name, requests, burst) VALUES (%s, %s, %s, %s)",
            issued["id"],
            *own,
        )
    now = [
        shown("second", is_own=True, requests=30),
        shown("monthly", is_own=True, requests=5000),
        shown("exports", burst=20),
    ]
    assert (await client.get(f"/api/keys/{issued['id']}", headers=management)).json()["limits"] == now
    rotated = await client.post(f"/api/keys/{issued['id']}/rotate", headers=management)
    assert rotated.json()["limits"] == now
    another, other_tier = await issue(), await issue(tier="pro")
    listed = (await client.get("/api/keys", headers=management)).json()["items"]
    by_id = {key["id"]: key["limits"] for key in listed}
    assert by_id == {
        issued["id"]: now,
        rotated.json()["id"]: now,
        another["id"]: plain,
        other_tier["id"]: [],
    }


def test_a_page_of_many_keys_takes_no_more_statements_than_one_of_few(plan, database):
    engine = create_engine(sqlalchemy_url(database.api_url))
    manager = KeyManager(engine, environment="test")
    for number in range(6):
        manager.issue({"name": f"key {number}", "tier": "free"}, Origin("api:test", None, ""))
    statements = []
    event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    counts = []
    for size in (1, 6):
        statements.clear()
        keys, _ = manager.page(None, size)
        assert [len(key.tier.limits) for key in keys] == [3] * size
        counts.append(len(statements))
    engine.dispose()
    assert counts[0] == counts[1] <= 3
