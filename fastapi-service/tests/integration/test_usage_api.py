from datetime import UTC, datetime, timedelta

import pytest


async def test_the_caller_sees_its_own_usage_only(client, issue, database):
    mine, other = await issue(), await issue()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for key, endpoint, at in (
        (mine, "/a", hour),
        (mine, "/b", hour - timedelta(hours=2)),
        (mine, "/old", hour - timedelta(days=3)),
        (other, "/c", hour),
    ):
        database.sql(
            "INSERT INTO usage_hourly (api_key_id, hour, endpoint, allowed, limited, cost)"
            " VALUES (%s, %s, %s, 5, 2, 9)",
            key["id"],
            at,
            endpoint,
        )
    answer = await client.get("/api/usage", headers={"X-API-Key": mine["key"]})
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["endpoint"] for item in items] == ["/b", "/a"]
    assert {key: items[1][key] for key in ("allowed", "limited", "cost")} == {
        "allowed": 5,
        "limited": 2,
        "cost": 9,
    }
    earlier = {"start": (hour - timedelta(days=4)).isoformat(), "end": (hour - timedelta(days=2)).isoformat()}
    answer = await client.get("/api/usage", params=earlier, headers={"X-API-Key": mine["key"]})
    assert [item["endpoint"] for item in answer.json()["items"]] == ["/old"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start": "yesterday"}, "start"),
        ({"start": "2026-01-01T00:00:00"}, "start"),
        ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "start"),
        ({"start": "2020-01-01T00:00:00Z"}, "start"),
        ({"end": "0001-01-01T00:00:00Z"}, "end"),
        ({"start": "9999-12-31T23:00:00-12:00"}, "start"),
        ({"start": "1790000000"}, "start"),
    ],
)
async def test_a_wrong_range_is_named(client, issue, query, field):
    answer = await client.get("/api/usage", params=query, headers={"X-API-Key": (await issue())["key"]})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_usage_needs_a_key_that_may_be_used(client, issue, management):
    assert (await client.get("/api/usage")).status_code == 401
    issued = await issue()
    await client.patch(f"/api/keys/{issued['id']}", json={"is_active": False}, headers=management)
    assert (await client.get("/api/usage", headers={"X-API-Key": issued["key"]})).status_code == 403


async def test_a_range_that_holds_too_much_is_refused_rather_than_cut(client, issue, database):
    key = await issue()
    database.sql(
        "INSERT INTO usage_hourly (api_key_id, hour, endpoint, allowed)"
        " SELECT %s, date_trunc('hour', now()), '/e' || n, 1 FROM generate_series(1, 10001) AS n",
        key["id"],
    )
    answer = await client.get("/api/usage", headers={"X-API-Key": key["key"]})
    assert answer.status_code == 422
    assert "over 10000 rows" in answer.json()["detail"]
    database.sql("DELETE FROM usage_hourly WHERE endpoint = '/e1'")
    answer = await client.get("/api/usage", headers={"X-API-Key": key["key"]})
    assert len(answer.json()["items"]) == 10_000
