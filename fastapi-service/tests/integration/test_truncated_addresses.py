"""CLIENT_IP_TRUNCATE: a client's address leaves the worker only as its network, an operator's whole."""

import logging

import pytest

from tests.servers import ADMIN_API_TOKEN

ADDRESS, NETWORK = "203.0.113.9", "203.0.113.0"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"client_ip_truncate": True, "request_log_drain": False})


async def test_redis_is_given_the_network_only(client, issue, redis, eventually):
    issued = await issue(burst=1)
    sent = {"X-API-Key": issued["key"]}
    for _ in range(15):  # admitted, denied by Redis, denied from memory, and those that share a row
        await client.post("/api/request", headers=sent)
    await client.delete(f"/api/keys/{issued['id']}", headers={"Authorization": f"Bearer {ADMIN_API_TOKEN}"})

    async def refused():
        return (await client.post("/api/request", headers=sent)).status_code == 403

    async def all_kinds():
        text = str(await redis.xrange("rl:{0}:log"))
        return text if "b'403'" in text and "b'429 0 " in text else None

    await eventually(refused)
    written = await eventually(all_kinds)
    assert NETWORK in written
    assert ADDRESS not in written


async def test_the_log_has_the_network_and_the_audit_the_operators_address(client, issue, database, caplog):
    key = (await issue())["key"]
    with caplog.at_level(logging.DEBUG):
        await client.get("/api/usage", headers={"X-API-Key": key})
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await client.get("/api/keys", headers=headers)).status_code == 401
    assert caplog.text.count("management_token_refused") == 2
    assert NETWORK in caplog.text
    assert ADDRESS not in caplog.text
    assert database.sql("SELECT host(client_ip) FROM audit_event") == [(ADDRESS,)]
