"""A key that has networks may be used from these alone."""

import httpx
import pytest

from ratelimiter import metrics
from tests.servers import execute

HERE, THERE = "203.0.113.9", "198.51.100.7"


@pytest.fixture
def ask(app):
    """Ask with a key from an address; ``None``: none is known, as at a Unix socket."""

    async def ask_from(address, key, path="/api/request"):
        transport = httpx.ASGITransport(app, client=(address, 1))
        if address is None:
            transport.client = None
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            method = "POST" if path == "/api/request" else "GET"
            return await http.request(method, path, headers={"X-API-Key": key})

    return ask_from


def refused():
    return metrics.DECISIONS.labels("free", "refused")._value.get()


async def test_a_key_is_refused_from_elsewhere_and_that_is_recorded(ask, issue, database, eventually):
    issued = await issue(allowed_cidrs=[f"{HERE}/32", "2001:db8::/32"])
    for address in (HERE, f"::ffff:{HERE}", "2001:db8::7", "2001:db8::7%eth0"):
        for path in ("/api/request", "/api/check", "/api/usage"):
            assert (await ask(address, issued["key"], path)).status_code == 200, (address, path)
    before = refused()
    for address, said in (
        (THERE, "may not be used from this address"),
        (f"::ffff:{THERE}", "may not be used from this address"),
        ("2001:db9::7", "may not be used from this address"),
        (None, "yours is not known"),
        ("unknown", "yours is not known"),
    ):
        for path in ("/api/request", "/api/check", "/api/usage"):
            answer = await ask(address, issued["key"], path)
            assert answer.status_code == 403, (address, path)
            assert answer.json()["type"] == "urn:ratelimiter:problem:key-refused"
            assert said in answer.json()["detail"]
            for secret in (HERE, "203.0.113", "2001:db8"):
                assert secret not in answer.text
    await eventually(lambda: refused() == before + 5)  # a look is not counted
    rows = "SELECT host(client_ip) FROM request_log WHERE status_code = 403 AND remaining IS NULL"
    expected = [(None,), (None,), (THERE,), ("2001:db9::7",), (f"::ffff:{THERE}",)]
    await eventually(lambda: sorted(database.sql(rows), key=str) == sorted(expected, key=str))


async def test_an_edit_of_the_networks_is_known_soon_by_whichever_door(
    ask, client, issue, management, database, eventually
):
    issued = await issue()
    assert (await ask(THERE, issued["key"])).status_code == 200

    async def answers(address, status):
        return (await ask(address, issued["key"], "/api/check")).status_code == status

    path = f"/api/keys/{issued['id']}"
    await client.patch(path, json={"allowed_cidrs": ["203.0.113.0/24"]}, headers=management)
    await eventually(lambda: answers(THERE, 403))
    assert await answers(HERE, 200)
    # By hand even a network of mapped addresses can be stored; it means that of IPv4.
    mapped = "UPDATE api_key SET allowed_cidrs = '{::ffff:198.51.100.0/120}' WHERE id = %s"
    execute(database.admin_url, mapped, issued["id"])
    await eventually(lambda: answers(THERE, 200))
    assert await answers(HERE, 403)
    await client.patch(path, json={"allowed_cidrs": []}, headers=management)
    await eventually(lambda: answers(HERE, 200))


class TestTruncated:
    """CLIENT_IP_TRUNCATE cuts what is stored, not what is compared."""

    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"client_ip_truncate": True})

    async def test_the_whole_address_is_compared_and_its_network_stored(
        self, ask, issue, database, eventually
    ):
        issued = await issue(allowed_cidrs=[HERE])
        assert (await ask(HERE, issued["key"])).status_code == 200
        assert (await ask("203.0.113.0", issued["key"])).status_code == 403
        assert (await ask("203.0.113.8", issued["key"])).status_code == 403
        rows = "SELECT DISTINCT host(client_ip) FROM request_log WHERE status_code = 403"
        await eventually(lambda: database.sql(rows) == [("203.0.113.0",)])
