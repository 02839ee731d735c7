from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ratelimiter.keys import credentials
from ratelimiter.keys.management import FIELDS


async def test_an_issued_key_is_shown_once_and_only_its_digest_is_kept(client, issue, management, database):
    issued = await issue(name="shop", tier="basic", owner_email="a@example.org", burst=50)
    key = issued.pop("key")
    assert credentials.is_well_formed(key)
    assert issued["hint"] == credentials.hint(key)
    assert (issued["name"], issued["tier"], issued["requests_per_hour"], issued["burst"]) == (
        "shop",
        "basic",
        1000,
        50,
    )
    assert issued["is_active"] is True
    assert issued["expires_at"] is None
    shown = await client.get(f"/api/keys/{issued['id']}", headers=management)
    assert shown.json() == issued
    dump = str(database.sql("SELECT * FROM api_key")) + str(database.sql("SELECT * FROM audit_event"))
    assert key not in dump
    assert key[9:] not in dump
    assert database.sql("SELECT digest FROM api_key")[0][0].tobytes() == credentials.digest(key)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/keys"),
        ("GET", "/api/keys"),
        ("GET", "/api/keys/1"),
        ("PATCH", "/api/keys/1"),
        ("DELETE", "/api/keys/1"),
        ("POST", "/api/keys/1/rotate"),
        ("POST", "/api/keys/1/reset"),
        ("POST", "/api/keys/1/revoke"),
        ("GET", "/api/keys/1/bucket"),
    ],
)
async def test_only_the_token_opens_the_management_api(client, method, path):
    for authorization in (None, "Bearer wrong", "Bearer ", "Basic dG9rZW4="):
        headers = {"Authorization": authorization} if authorization else {}
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == 401, authorization
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\0b"}, "name"),
        ({}, "name"),
        ({"name": "x", "tier": "gold"}, "tier"),
        ({"name": "x", "owner_email": "nobody"}, "owner_email"),
        ({"name": "x", "requests_per_hour": 0}, "requests_per_hour"),
        ({"name": "x", "requests_per_hour": "10"}, "requests_per_hour"),
        ({"name": "x", "burst": 0}, "burst"),
        ({"name": "x", "requests_per_hour": 1, "burst": 87_601}, "burst"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "x", "expires_at": "2090-01-01T00:00:00"}, "expires_at"),
        ({"name": "x", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"name": "x", "expires_at": 4102444800}, "expires_at"),
        ({"name": "x", "expires_at": "4102444800"}, "expires_at"),
        ({"name": "x", "is_exempt": 1}, "is_exempt"),
        ({"name": "x", "is_admin": True}, "is_admin"),
    ],
)
async def test_bad_input_is_named_and_changes_nothing(client, management, database, fields, field):
    answer = await client.post("/api/keys", json=fields, headers=management)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ratelimiter:problem:invalid-input"
    assert {error["field"] for error in answer.json()["errors"]} == {field}
    assert database.sql("SELECT count(*) FROM api_key") == [(0,)]


async def test_an_unknown_tier_is_answered_with_those_there_are(client, management):
    answer = await client.post("/api/keys", json={"name": "x", "tier": "gold"}, headers=management)
    assert "free, basic, pro, enterprise" in answer.json()["detail"]


async def test_a_body_is_json_whatever_it_is_called(client, management):
    headers = management | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/api/keys", content=b'{"name": "curl -d"}', headers=headers)
    assert answer.status_code == 201
    answer = await client.post("/api/keys", content=b"name=x", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:ratelimiter:problem:malformed-body"


async def test_keys_are_listed_newest_first_page_by_page(client, issue, management):
    ids = [(await issue(name=f"key {n}"))["id"] for n in range(5)]
    seen, cursor = [], None
    for expected in (2, 2, 1):
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/api/keys", params=query, headers=management)).json()
        assert len(page["items"]) == expected
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        assert "key" not in page["items"][0]
    assert cursor is None
    assert seen == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("query", "field"),
    [({"cursor": "nonsense"}, "cursor"), ({"cursor": -1}, "cursor"), ({"limit": 0}, "limit")],
)
async def test_a_wrong_page_is_named(client, management, query, field):
    answer = await client.get("/api/keys", params=query, headers=management)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_change_sets_what_is_sent_and_is_audited(client, issue, management, database):
    issued = await issue(burst=7)
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    changes = {"name": "renamed", "tier": "pro", "burst": None, "expires_at": until, "is_exempt": True}
    answer = await client.patch(f"/api/keys/{issued['id']}", json=changes, headers=management)
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert (changed["name"], changed["tier"], changed["burst"]) == ("renamed", "pro", 10_000)
    assert (issued["is_exempt"], changed["is_exempt"]) == (False, True)
    assert datetime.fromisoformat(changed["expires_at"]) == datetime.fromisoformat(until)
    assert changed["updated_at"] > issued["updated_at"]
    [(actor, action, detail, client_ip)] = database.sql(
        "SELECT actor, action, detail, host(client_ip) FROM audit_event ORDER BY id DESC LIMIT 1"
    )
    assert (actor, action, client_ip) == ("api:token", "updated", "203.0.113.9")
    assert detail["changed"]["tier"] == ["free", "pro"]
    assert detail["changed"]["burst"] == [7, None]
    assert detail["changed"]["is_exempt"] == [False, True]
    assert changed["overrides"] == {"requests_per_hour": None, "burst": None}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name"),
        ({"is_active": None}, "is_active"),
        ({"is_active": "yes"}, "is_active"),
        ({"is_exempt": None}, "is_exempt"),
        ({"requests_per_hour": 1, "burst": 10**6}, "burst"),
        ({"revoked_at": None}, "revoked_at"),
    ],
)
async def test_a_wrong_change_is_named_and_changes_nothing(client, issue, management, changes, field):
    issued = await issue()
    answer = await client.patch(f"/api/keys/{issued['id']}", json=changes, headers=management)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    shown = (await client.get(f"/api/keys/{issued['id']}", headers=management)).json()
    assert shown == {name: value for name, value in issued.items() if name != "key"}


@pytest.mark.parametrize("address", ["unknown", "fe80::1%eth0"])
async def test_an_address_that_a_proxy_made_up_harms_nothing(app, management, database, address):
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        answer = await http.post("/api/keys", json={"name": "x"}, headers=management)
    assert answer.status_code == 201
    assert database.sql("SELECT host(client_ip) FROM audit_event") in ([(None,)], [("fe80::1",)])


async def test_revoking_is_final_and_can_be_repeated(client, issue, management, database):
    issued = await issue()
    for _ in range(2):
        answer = await client.delete(f"/api/keys/{issued['id']}", headers=management)
        assert (answer.status_code, answer.content) == (204, b"")
    assert database.sql("SELECT count(*) FROM audit_event WHERE action = 'revoked'") == [(1,)]
    for method, path in (("PATCH", ""), ("POST", "/rotate")):
        answer = await client.request(method, f"/api/keys/{issued['id']}{path}", json={}, headers=management)
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:ratelimiter:problem:conflict"


async def test_a_reason_is_kept_with_the_key_and_in_the_audit_and_stays(client, issue, management, database):
    issued = await issue()
    path = f"/api/keys/{issued['id']}/revoke"
    wrong = [{"reason": "r" * 501}, {"reason": None}, {"reason": issued["key"]}, {"why": "leaked"}, []]
    for body in wrong:
        answer = await client.post(path, json=body, headers=management)
        assert answer.status_code == 422, body
    assert database.sql("SELECT revoked_at, revoked_reason FROM api_key") == [(None, "")]
    answer = await client.post(path, json={"reason": " leaked\nin a log "}, headers=management)
    assert answer.status_code == 200, answer.text
    revoked = answer.json()
    assert revoked["revoked_at"] is not None
    assert revoked["revoked_reason"] == "leaked\nin a log"
    again = await client.post(path, json={"reason": "another"}, headers=management)
    assert (again.status_code, again.json()) == (200, revoked)
    await client.delete(f"/api/keys/{issued['id']}", headers=management)
    assert (await client.get(f"/api/keys/{issued['id']}", headers=management)).json() == revoked
    assert database.sql("SELECT detail FROM audit_event WHERE action = 'revoked'") == [
        ({"hint": issued["hint"], "reason": "leaked\nin a log"},)
    ]


async def test_no_reason_need_be_given(client, issue, management, database):
    for body in ({}, {"json": {}}, {"json": {"reason": ""}}):
        issued = await issue()
        answer = await client.post(f"/api/keys/{issued['id']}/revoke", headers=management, **body)
        assert (answer.status_code, answer.json()["revoked_reason"]) == (200, "")
    assert {
        frozenset(row[0]) for row in database.sql("SELECT detail FROM audit_event WHERE action = 'revoked'")
    } == {frozenset({"hint"})}


async def test_networks_are_kept_in_their_canonical_form_and_an_error_says_what_was_meant(
    client, issue, management, database
):
    issued = await issue(allowed_cidrs=["192.0.2.7", "2001:DB8::/32", "192.0.2.7/32", " 10.0.0.0/8"])
    assert issued["allowed_cidrs"] == ["192.0.2.7/32", "2001:db8::/32", "10.0.0.0/8"]
    path = f"/api/keys/{issued['id']}"
    answer = await client.patch(path, json={"allowed_cidrs": ["10.0.0.1/8", "::1", "x"]}, headers=management)
    assert [(error["field"], error["message"]) for error in answer.json()["errors"]] == [
        ("allowed_cidrs.0", "10.0.0.1/8: did you mean 10.0.0.0/8?"),
        ("allowed_cidrs.2", "x: must be an IP address or a network such as 10.0.0.0/8"),
    ]
    changes = {"allowed_cidrs": ["::1"], "note": " two\nlines "}
    changed = (await client.patch(path, json=changes, headers=management)).json()
    assert (changed["allowed_cidrs"], changed["note"]) == (["::1/128"], "two\nlines")
    [(detail,)] = database.sql("SELECT detail FROM audit_event WHERE action = 'updated'")
    assert detail["changed"] == {
        "allowed_cidrs": [issued["allowed_cidrs"], ["::1/128"]],
        "note": ["", "two\nlines"],
    }
    listed = (await client.get("/api/keys", headers=management)).json()["items"]
    assert listed == [changed]


async def test_wrong_networks_and_notes_are_named_and_change_nothing(client, issue, management):
    issued = await issue()
    for fields, field in (
        ({"note": "n" * 2001}, "note"),
        ({"note": None}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"allowed_cidrs": None}, "allowed_cidrs"),
        ({"allowed_cidrs": "10.0.0.0/8"}, "allowed_cidrs"),
        ({"allowed_cidrs": [f"10.0.{n}.0/24" for n in range(51)]}, "allowed_cidrs"),
        ({"allowed_cidrs": ["10.0.0.0/8", None]}, "allowed_cidrs.1"),
        ({"allowed_cidrs": ["10.0.0.0/8", "10.0.0.1\0"]}, "allowed_cidrs.1"),
        ({"revoked_reason": "leaked"}, "revoked_reason"),
    ):
        for method, path in (("POST", "/api/keys"), ("PATCH", f"/api/keys/{issued['id']}")):
            answer = await client.request(method, path, json={"name": "x"} | fields, headers=management)
            assert answer.status_code == 422, (method, fields)
            assert [error["field"] for error in answer.json()["errors"]] == [field]
    listed = (await client.get("/api/keys", headers=management)).json()["items"]
    assert listed == [{name: value for name, value in issued.items() if name != "key"}]


async def test_a_note_of_full_length_fits_in_whatever_script(client, issue, management):
    note = "鍵" * 2000
    networks = [f"2001:db8:{n}::/48" for n in range(1, 51)]
    issued = await issue(note=note, allowed_cidrs=networks, name="n" * 100)
    assert (issued["note"], issued["allowed_cidrs"]) == (note, networks)


async def test_rotation_keeps_the_bucket_and_gives_the_old_key_its_grace(client, issue, management, database):
    said = {"allowed_cidrs": ["203.0.113.0/24"], "note": "paid", "is_exempt": True}
    old = await issue(tier="basic", requests_per_hour=10, owner_email="a@example.org", **said)
    for _ in range(10):
        await client.post("/api/request", headers={"X-API-Key": old["key"]})
    path = f"/api/keys/{old['id']}/rotate"
    new = (await client.post(path, json={"grace_seconds": 60}, headers=management)).json()
    assert new["replaces"] == old["id"]
    assert new["key"] != old["key"]
    for field in FIELDS:
        assert new[field] == old[field]
    assert {field: new[field] for field in said} == said
    for key in (new["key"], old["key"]):
        answer = await client.post("/api/request", headers={"X-API-Key": key})
        assert answer.status_code == 429, "a rotation mints no fresh burst"
    [(grace,)] = database.sql("SELECT expires_at - now() FROM api_key WHERE id = %s", old["id"])
    assert timedelta(seconds=40) < grace <= timedelta(seconds=60)
    again = await client.post(path, json={}, headers=management)
    assert again.status_code == 409
    newest = (await client.post(f"/api/keys/{new['id']}/rotate", headers=management)).json()
    answer = await client.post("/api/request", headers={"X-API-Key": newest["key"]})
    assert answer.status_code == 429, "the subject is the root of the chain"


async def test_a_retier_in_the_grace_holds_for_both_keys_of_the_bucket(client, issue, management, eventually):
    old = await issue(tier="enterprise")
    path = f"/api/keys/{old['id']}/rotate"
    new = (await client.post(path, json={"grace_seconds": 60}, headers=management)).json()
    keys = [{"X-API-Key": old["key"]}, {"X-API-Key": new["key"]}]
    for key in keys:
        await client.post("/api/request", headers=key)
    changes = {"tier": "free", "requests_per_hour": 1, "burst": 5}
    answer = await client.patch(f"/api/keys/{new['id']}", json=changes, headers=management)
    assert answer.status_code == 200, answer.text

    async def followed():
        answers = [await client.get("/api/check", headers=key) for key in keys]
        return [(a.json()["tier"], a.json()["limit"]) for a in answers] == [("free", 5)] * 2

    await eventually(followed)
    shown = (await client.get(f"/api/keys/{old['id']}", headers=management)).json()
    assert (shown["tier"], shown["requests_per_hour"]) == ("enterprise", 1_000_000), (
        "management shows its own"
    )
    answers = [await client.post("/api/request", headers=key) for _ in range(20) for key in keys]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) <= 5, "an hour must pass until one more comes back"
    await client.post(f"/api/keys/{new['id']}/reset", headers=management)
    answers = [await client.post("/api/request", headers=key) for _ in range(20) for key in keys]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 35


async def test_rotation_without_grace_ends_the_old_key(client, issue, management, eventually):
    old = await issue()
    await client.post("/api/request", headers={"X-API-Key": old["key"]})
    await client.post(f"/api/keys/{old['id']}/rotate", headers=management)

    async def refused():
        answer = await client.post("/api/request", headers={"X-API-Key": old["key"]})
        return answer.status_code == 403

    await eventually(refused)


async def test_a_rotation_never_prolongs_the_old_key(client, issue, management, database):
    until = datetime.now(UTC) + timedelta(seconds=30)
    old = await issue(expires_at=until.isoformat())
    path = f"/api/keys/{old['id']}/rotate"
    await client.post(path, json={"grace_seconds": 3600}, headers=management)
    assert database.sql("SELECT expires_at FROM api_key WHERE id = %s", old["id"]) == [(until,)]


async def test_reset_fills_the_bucket_and_is_audited(client, issue, management, database):
    issued = await issue(burst=1)
    await client.post("/api/request", headers={"X-API-Key": issued["key"]})
    answer = await client.post(f"/api/keys/{issued['id']}/reset", headers=management)
    assert answer.status_code == 204
    answer = await client.post("/api/request", headers={"X-API-Key": issued["key"]})
    assert answer.status_code == 200
    assert ("reset", issued["id"]) in database.sql("SELECT action, target_id FROM audit_event")


async def test_an_unknown_key_is_not_found(client, management):
    posts = [("POST", path) for path in ("/rotate", "/reset", "/revoke")]
    for method, path in (("GET", ""), ("GET", "/bucket"), ("PATCH", ""), ("DELETE", ""), *posts):
        answer = await client.request(method, f"/api/keys/999{path}", json={}, headers=management)
        assert answer.status_code == 404, path
        assert answer.json()["type"] == "urn:ratelimiter:problem:not-found"


@pytest.mark.parametrize("path", ["/api/keys/abc", "/api/keys/0", "/api/keys/99999999999999999999"])
async def test_an_id_that_is_none_is_named(client, management, path):
    answer = await client.get(path, headers=management)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "key_id"


async def test_a_management_body_over_the_limit_is_refused(client, management):
    answer = await client.post("/api/keys", content=b'{"name": "x"}'.ljust(16_384), headers=management)
    assert answer.status_code == 201
    answer = await client.post("/api/keys", content=b" " * 16_385, headers=management)
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:ratelimiter:problem:body-too-large"
    assert answer.headers["x-request-id"]


async def test_a_length_with_thousands_of_zeros_is_a_length(client, management):
    body = b'{"name": "x"}'
    headers = management | {"Content-Length": f"{'0' * 5000}{len(body)}"}
    assert (await client.post("/api/keys", content=body, headers=headers)).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/keys/1", "DELETE, GET, PATCH"),
        ("PUT", "/api/keys", "GET, POST"),
        ("POST", "/health", "GET"),
        ("QUERY", "/api/keys", "GET, POST"),
    ],
)
async def test_another_method_is_answered_with_those_there_are(client, method, path, allowed):
    answer = await client.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["type"] == "urn:ratelimiter:problem:method-not-allowed"
    assert answer.headers["allow"] == allowed


async def test_a_method_that_nobody_knows_is_not_implemented(client):
    answer = await client.request("NEEDLE", "/health")
    assert answer.status_code == 501
    assert answer.json()["type"] == "urn:ratelimiter:problem:unknown-method"
    assert answer.headers["x-request-id"]


async def test_nothing_lives_elsewhere(client):
    for path in ("/api", "/docs/assets/none", "/api/keys/", "/nowhere"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("field", ["name", "owner_email", "note"])
async def test_a_key_that_was_pasted_into_a_field_is_refused_and_not_stored(
    client, issue, management, database, field
):
    issued = await issue()
    value = issued["key"] if field != "owner_email" else f"{issued['key']}@example.com"
    for method, path in (("POST", "/api/keys"), ("PATCH", f"/api/keys/{issued['id']}")):
        answer = await client.request(method, path, json={"name": "x"} | {field: value}, headers=management)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
        assert "must not hold an API key" in answer.json()["detail"]
    assert database.sql("SELECT name, owner_email, note FROM api_key") == [("test", "", "")]


@pytest.mark.parametrize("before", ["", "key-", "a.b-c."])
async def test_a_key_is_taken_for_no_request_id(client, issue, management, database, before):
    key = (await issue())["key"]
    headers = management | {"X-Request-ID": before + key}
    answer = await client.post("/api/keys", json={"name": "x"}, headers=headers)
    assert answer.status_code == 201
    assert key not in answer.headers["x-request-id"]
    assert database.sql("SELECT count(*) FROM audit_event WHERE request_id LIKE '%rlk%'") == [(0,)]
