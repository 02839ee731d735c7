import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import http_sf
import httpx
import pytest
from asgi_lifespan import LifespanManager

from ratelimiter.app import create_app
from tests.servers import ADMIN_API_TOKEN, execute

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


async def request(client, key, body=None, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return await client.post("/api/request", content=content, headers={"X-API-Key": key} | headers)


def assert_problem(answer, status, slug):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem = answer.json()
    assert problem["type"] == f"urn:ratelimiter:problem:{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


async def test_an_admitted_request(client, issue):
    key = (await issue(tier="free"))["key"]
    answer = await request(client, key)
    assert answer.status_code == 200
    body = answer.json()
    assert body == {
        "allowed": True,
        "tier": "free",
        "limit": 100,
        "remaining": 99,
        "reset_after_seconds": 36,
    }
    headers = answer.headers
    assert headers["x-ratelimit-limit"] == "100"
    assert headers["x-ratelimit-remaining"] == "99"
    assert 0 <= int(headers["x-ratelimit-reset"]) - time.time() <= 37
    assert http_sf.parse(headers["ratelimit-policy"].encode(), tltype="list") == [
        ("default", {"q": 100, "w": 3600})
    ]
    assert http_sf.parse(headers["ratelimit"].encode(), tltype="list") == [("default", {"r": 99, "t": 36})]
    assert "retry-after" not in headers


async def test_a_denied_request(client, issue):
    key = (await issue(requests_per_hour=60, burst=2))["key"]
    await request(client, key, {"cost": 2})
    answer = await request(client, key, {"cost": 2})
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == QUOTA_EXCEEDED
    assert problem["violated-policies"] == ["default"]
    assert problem["status"] == 429
    assert (problem["allowed"], problem["limit"], problem["remaining"]) == (False, 2, 0)
    assert answer.headers["retry-after"] == "120"
    assert http_sf.parse(answer.headers["ratelimit"].encode(), tltype="list") == [
        ("default", {"r": 0, "t": 60})
    ]


async def test_a_check_spends_nothing_and_writes_no_row(client, issue, database, eventually):
    issued = await issue(burst=1)
    for _ in range(3):
        answer = await client.get("/api/check", headers={"X-API-Key": issued["key"]})
        assert answer.status_code == 200
        assert answer.json()["remaining"] == 1
        assert answer.headers["ratelimit"] == '"default";r=1;t=0'
    await request(client, issued["key"])
    answer = await client.get("/api/check", headers={"X-API-Key": issued["key"]})
    assert answer.status_code == 200
    assert answer.json()["allowed"] is False
    assert answer.headers["retry-after"] == "36"
    await eventually(lambda: database.sql("SELECT 1 FROM request_log"))
    assert database.sql("SELECT status_code FROM request_log") == [(200,)]


@pytest.mark.parametrize("path", ["/api/request", "/api/check"])
async def test_without_a_key(client, path):
    method = "POST" if path == "/api/request" else "GET"
    answer = await client.request(method, path)
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == 'ApiKey header="X-API-Key"'


@pytest.mark.parametrize(
    "key", ["", "nonsense", "rlk_live_" + "0" * 49, "ключ".encode(), "rlk_live_" + "0" * 43 + "1fzt1e"]
)
async def test_a_malformed_or_unknown_key(client, key):
    answer = await client.post("/api/request", headers={"X-API-Key": key})
    assert_problem(answer, 401, "unauthenticated")


async def test_a_malformed_key_costs_no_query(client, database, monkeypatch):
    looked_up = []
    monkeypatch.setattr(
        "ratelimiter.keys.store.KeyStore.find", lambda _self, digest: looked_up.append(digest)
    )
    for _ in range(20):
        await client.post("/api/request", headers={"X-API-Key": "rlk_live_" + "x" * 49})
    assert looked_up == []


async def test_a_key_that_may_not_be_used_is_refused_and_recorded(
    client, issue, database, management, eventually
):
    paused, expired, revoked = await issue(), await issue(), await issue()
    for issued in (paused, expired, revoked):
        assert (await request(client, issued["key"])).status_code == 200
    await client.patch(f"/api/keys/{paused['id']}", json={"is_active": False}, headers=management)
    database.sql("UPDATE api_key SET expires_at = now() WHERE id = %s", expired["id"])
    await client.delete(f"/api/keys/{revoked['id']}", headers=management)
    for issued, reason in ((paused, "paused"), (expired, "expired"), (revoked, "revoked")):

        async def refused(issued=issued):
            answer = await request(client, issued["key"], {"endpoint": "/v1/orders"})
            return answer.status_code == 403 and answer

        answer = await eventually(refused)
        assert reason in assert_problem(answer, 403, "key-refused")["detail"]
        assert (await client.get("/api/check", headers={"X-API-Key": issued["key"]})).status_code == 403
    rows = "SELECT api_key_id, remaining FROM request_log WHERE status_code = 403 ORDER BY 1"
    expected = [(issued["id"], None) for issued in (paused, expired, revoked)]
    await eventually(lambda: database.sql(rows) == expected)


@pytest.mark.parametrize(
    ("body", "status", "slug", "field"),
    [
        (b"{", 400, "malformed-body", None),
        (b"\xff\xfe", 400, "malformed-body", None),
        (b'{"endpoint": "\\ud800"}', 400, "malformed-body", None),
        (b"[]", 422, "invalid-input", "body"),
        (b"null", 422, "invalid-input", "body"),
        ({"cost": 0}, 422, "invalid-input", "cost"),
        ({"cost": -1}, 422, "invalid-input", "cost"),
        ({"cost": "1"}, 422, "invalid-input", "cost"),
        ({"cost": 1.5}, 422, "invalid-input", "cost"),
        ({"cost": True}, 422, "invalid-input", "cost"),
        ({"cost": 101}, 422, "invalid-input", "cost"),
        ({"cost": 10**30}, 422, "invalid-input", "cost"),
        ({"endpoint": ""}, 422, "invalid-input", "endpoint"),
        ({"endpoint": "x" * 201}, 422, "invalid-input", "endpoint"),
        ({"endpoint": "a\0b"}, 422, "invalid-input", "endpoint"),
        ({"endpoint": 7}, 422, "invalid-input", "endpoint"),
        ({"endpont": "/x"}, 422, "invalid-input", "endpont"),
    ],
)
async def test_bad_input_is_named_and_spends_nothing(client, issue, body, status, slug, field):
    key = (await issue())["key"]
    problem = assert_problem(await request(client, key, body), status, slug)
    if field:
        assert [error["field"] for error in problem["errors"]] == [field]
        assert problem["errors"][0]["message"]
    check = await client.get("/api/check", headers={"X-API-Key": key})
    assert check.json()["remaining"] == 100


async def test_the_longest_endpoint_is_kept_whole(client, issue, database, eventually):
    endpoint = "/é\\\"'%,;" + "x" * 192
    assert (await request(client, (await issue())["key"], {"endpoint": endpoint})).status_code == 200
    await eventually(lambda: database.sql("SELECT endpoint FROM request_log") == [(endpoint,)])
    assert database.sql("SELECT endpoint FROM usage_hourly") == [(endpoint,)]


async def test_a_body_over_the_limit_is_refused(client, issue):
    key = (await issue())["key"]
    assert_problem(await request(client, key, b" " * 4097), 413, "body-too-large")
    assert (await request(client, key, b'{"cost": 1}' + b" " * 4085)).status_code == 200


async def test_the_rest_of_a_body_over_the_limit_is_not_read(app, issue):
    key = (await issue())["key"]
    parts = [{"type": "http.request", "body": b" " * 3000, "more_body": True} for _ in range(5)]
    sent = []

    async def receive():
        return parts.pop()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/request",
        "headers": [(b"x-api-key", key.encode()), (b"transfer-encoding", b"chunked")],
        "client": None,
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert len(parts) == 3


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("GET", "/api/request", "POST"), ("POST", "/api/check", "GET")]
)
async def test_another_method(client, method, path, allowed):
    answer = await client.request(method, path)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-123_X.y", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)],
)
async def test_the_request_id_is_the_callers_if_it_is_harmless(client, sent, kept):
    answer = await client.post("/api/request", headers={"X-Request-ID": sent})
    assert (answer.headers["x-request-id"] == sent) is kept
    assert answer.headers["x-request-id"]


async def choose_fallback(database, client, key, mode):
    """What the key's tier does without Redis; returns once the service knows."""
    execute(database.admin_url, "UPDATE tier SET fallback = %s", mode)
    await asyncio.sleep(0.5)
    assert (await client.get("/api/check", headers={"X-API-Key": key})).status_code == 200


async def test_without_redis_a_worker_decides_alone_and_says_so(
    client, issue, redis_server, database, eventually
):
    key = (await issue(burst=3))["key"]
    assert "x-ratelimit-mode" not in (await request(client, key)).headers
    port = redis_server.port
    redis_server.kill()
    answers = [await request(client, key) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert {answer.headers["x-ratelimit-mode"] for answer in answers} == {"local"}
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0", "0"]
    look = await client.get("/api/check", headers={"X-API-Key": key})
    assert (look.status_code, look.json()["remaining"], look.headers["x-ratelimit-mode"]) == (200, 0, "local")
    redis_server.start(port=port)

    def outcomes():
        rows = execute(database.admin_url, "SELECT status_code, count FROM request_log ORDER BY id")
        return sorted((status, count) for status, count in rows)

    await eventually(lambda: sum(count for _, count in outcomes()) >= 5, within_seconds=20)
    assert [status for status, _ in outcomes()].count(200) >= 3

    async def decided_by_redis():
        return "x-ratelimit-mode" not in (await request(client, key)).headers

    await eventually(decided_by_redis)


async def test_a_closed_tier_is_503_with_retry_after_without_redis(client, issue, redis_server, database):
    key = (await issue())["key"]
    await choose_fallback(database, client, key, "closed")
    redis_server.kill()
    answer = await request(client, key)
    assert_problem(answer, 503, "limiter-unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert_problem(await client.get("/api/check", headers={"X-API-Key": key}), 503, "limiter-unavailable")


async def test_an_open_tier_admits_everybody_without_redis(client, issue, redis_server, database):
    key = (await issue(burst=2))["key"]
    await choose_fallback(database, client, key, "open")
    redis_server.kill()
    answers = [await request(client, key) for _ in range(5)]
    assert {(answer.status_code, answer.headers["x-ratelimit-mode"]) for answer in answers} == {(200, "open")}


async def test_a_refusal_needs_no_redis_and_is_recorded_once_it_is_back(
    client, issue, redis_server, management, database, eventually
):
    issued = await issue()
    await client.patch(f"/api/keys/{issued['id']}", json={"is_active": False}, headers=management)
    port = redis_server.port
    redis_server.kill()
    assert_problem(await request(client, issued["key"]), 403, "key-refused")
    redis_server.start(port=port)
    await eventually(
        lambda: execute(database.admin_url, "SELECT status_code FROM request_log") == [(403,)],
        within_seconds=20,
    )


async def test_a_body_that_never_comes_is_given_up(app, issue, monkeypatch):
    monkeypatch.setattr("ratelimiter.api.edge.MAX_BODY_SECONDS", 0.1)
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    headers = [(b"x-api-key", (await issue())["key"].encode()), (b"content-length", b"9")]
    for path in ("/api/request", "/api/keys"):
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": None}
        await app(scope, receive, send)
        assert sent[-2]["status"] == 408
        assert (b"connection", b"close") in sent[-2]["headers"]


async def test_what_failed_is_logged_with_its_request_id_and_garbage_is_not(
    client, issue, redis_server, database, caplog
):
    key = (await issue())["key"]
    await choose_fallback(database, client, key, "closed")
    caplog.clear()
    await request(client, "garbage", **{"X-Request-ID": "garbage-1"})
    redis_server.kill()
    await request(client, key, **{"X-Request-ID": "failed-1"})
    lines = [record.msg for record in caplog.records if "decisions" in record.name]
    assert [line["request_id"] for line in lines] == ["failed-1"]
    assert lines[0]["problem"] == "limiter-unavailable"
    assert "Connection" in lines[0]["cause"]
    assert key not in str(lines)


async def test_a_failure_nobody_foresaw_is_a_problem_too(client, issue, monkeypatch):
    key = (await issue())["key"]

    def fail(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("ratelimiter.api.answers.rate_limit_headers", fail)
    problem = assert_problem(await request(client, key), 500, "internal-error")
    assert "secret" not in json.dumps(problem)


async def test_two_hundred_clients_at_once_are_admitted_exactly_the_burst(client, issue):
    key = (await issue(requests_per_hour=1, burst=100))["key"]
    answers = await asyncio.gather(*(request(client, key) for _ in range(200)))
    assert sorted(answer.status_code for answer in answers) == [200] * 100 + [429] * 100


async def test_the_row_of_a_decision(client, issue, database, eventually):
    issued = await issue(burst=10)
    await request(client, issued["key"], {"endpoint": "/v1/orders", "cost": 3})
    await request(client, issued["key"], {"endpoint": "/v1/orders", "cost": 8})
    query = """
        SELECT api_key_id, endpoint, status_code, cost, remaining, count, host(client_ip), timestamp
        FROM request_log ORDER BY id
    """
    rows = await eventually(lambda: len(database.sql(query)) == 2 and database.sql(query))
    assert [row[:7] for row in rows] == [
        (issued["id"], "/v1/orders", 200, 3, 7, 1, "203.0.113.9"),
        (issued["id"], "/v1/orders", 429, 8, 7, 1, "203.0.113.9"),
    ]
    assert abs(rows[0][7] - datetime.now(UTC)) < timedelta(seconds=10)
    assert database.sql("SELECT allowed, limited, cost FROM usage_hourly") == [(1, 1, 3)]
    assert database.sql("SELECT api_key_id, last_used_at FROM key_activity") == [(issued["id"], rows[1][7])]


async def test_there_may_be_more_shards_than_redis_py_gives_connections(settings):
    application = create_app(settings.model_copy(update={"redis_shards": 150, "request_log_drain": False}))
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}
    async with (
        LifespanManager(application, startup_timeout=30, shutdown_timeout=30),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        keys = [
            (await http.post("/api/keys", json={"name": "x"}, headers=headers)).json()["key"]
            for _ in range(250)
        ]
        answers = [await request(http, key) for key in keys]
    assert {answer.status_code for answer in answers} == {200}


async def test_an_endpoint_that_holds_a_key_is_refused(client, issue):
    key = (await issue())["key"]
    problem = assert_problem(
        await request(client, key, {"endpoint": f"/v1/x?key={key}"}), 422, "invalid-input"
    )
    assert [error["field"] for error in problem["errors"]] == ["endpoint"]
    assert key not in json.dumps(problem)
