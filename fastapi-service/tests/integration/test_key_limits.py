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


async def test_a_change_sets_the_named_limits_and_takes_them_away(
    plan, client, issue, management, database, eventually
):
    issued = await issue()
    path, key = f"/api/keys/{issued['id']}", {"X-API-Key": issued["key"]}
    assert (await client.post("/api/request", headers=key)).status_code == 200
    own = {"monthly": {"requests": 5000}, "second": {"requests": 7, "burst": 9}}
    answer = await client.patch(path, json={"name": "shop", "limits": own}, headers=management)
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed["limits"][:2] == [
        shown("second", is_own=True, requests=7, burst=9),
        shown("monthly", is_own=True, requests=5000),
    ]
    assert changed["updated_at"] > issued["updated_at"]

    async def followed():
        limits = (await client.get("/api/check", headers=key)).json()["limits"]
        return [limit["limit"] for limit in limits if limit["name"] in own] == [9, 5000]

    await eventually(followed)
    changes = {"limits": {"second": {"requests": 8}, "monthly": None, "exports": None}}
    changed = (await client.patch(path, json=changes, headers=management)).json()
    assert changed["limits"] == [
        shown("second", is_own=True, requests=8),
        shown("monthly"),
        shown("exports", burst=20),
    ]
    for unchanging in ({"limits": {}}, changes):
        again = await client.patch(path, json=unchanging, headers=management)
        assert (again.status_code, again.json()) == (200, changed)
    details = database.sql("SELECT detail FROM audit_event WHERE action = 'updated' ORDER BY id")
    monthly, second = {"name": "monthly", "requests": 5000}, {"name": "second", "requests": 7, "burst": 9}
    assert [detail["changed"] for (detail,) in details] == [
        {"name": ["test", "shop"], "limits": [[], [monthly, second]]},
        {"limits": [[monthly, second], [{"name": "second", "requests": 8}]]},
    ]


async def test_wrong_numbers_are_named_and_change_nothing(plan, client, issue, management, add_limit):
    add_limit("bulk", tier="pro", requests=10**6, window_seconds=3600, burst=10**8)
    issued = await issue()
    path = f"/api/keys/{issued['id']}"
    of_tier = "the tier free has no limit of this name; it has second, monthly, exports"
    for limits, wrong in (
        (None, {"limits": None}),
        ({"monthly": {}}, {"limits.monthly.requests": None}),
        ({"monthly": {"requests": "7"}}, {"limits.monthly.requests": None}),
        ({"monthly": {"requests": 0}}, {"limits.monthly.requests": None}),
        ({"monthly": {"requests": 1, "period": "day"}}, {"limits.monthly.period": None}),
        ({"second": {"requests": 1, "burst": 0}}, {"limits.second.burst": None}),
        ({"hourly": {"requests": 1}}, {"limits.hourly": of_tier}),
        ({"hourly": None}, {"limits.hourly": of_tier}),
        (
            {"monthly": {"requests": 1, "burst": 1}, "hourly": {"requests": 1}},
            {
                "limits.hourly": of_tier,
                "limits.monthly.burst": "must be left out: the limit is a quota, which has no burst",
            },
        ),
        (
            {"second": {"requests": 2_777_778}},
            {"limits.second.requests": "must be at most 2777777: the window has 1 s"},
        ),
        (
            {"second": {"requests": 1, "burst": 10**9}},
            {
                "limits.second.burst": (
                    "a burst of 1000000000 takes over ten years to refill; 315360000 is the most"
                )
            },
        ),
    ):
        changes = {"name": "another", "limits": limits}
        answer = await client.patch(path, json=changes, headers=management)
        assert answer.status_code == 422, (limits, answer.text)
        told = {error["field"]: error["message"] for error in answer.json()["errors"]}
        assert told.keys() == wrong.keys(), limits
        assert {field: told[field] for field in wrong if wrong[field]} == {
            field: message for field, message in wrong.items() if message
        }
    changes = {"tier": "pro", "limits": {"bulk": {"requests": 1}}}
    answer = await client.patch(path, json=changes, headers=management)
    assert [error["field"] for error in answer.json()["errors"]] == ["limits.bulk.requests"], (
        "the tier's burst"
    )
    now = (await client.get(path, headers=management)).json()
    assert now == {name: value for name, value in issued.items() if name != "key"}


async def test_numbers_for_a_limit_of_another_tier_can_be_taken_away(
    plan, client, issue, management, database
):
    issued = await issue()
    path = f"/api/keys/{issued['id']}"
    for changes in ({"limits": {"monthly": {"requests": 1}}}, {"tier": "pro"}, {"limits": {"monthly": None}}):
        assert (await client.patch(path, json=changes, headers=management)).status_code == 200, changes
    assert database.sql("SELECT count(*) FROM key_limit") == [(0,)]


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
