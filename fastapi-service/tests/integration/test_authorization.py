"""Who gets into the management API and, where it asks for a token, at the metrics."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import psycopg2
import pytest
from asgi_lifespan import LifespanManager
from prometheus_client.parser import text_string_to_metric_families

from ratelimiter import metrics, redis_keys
from ratelimiter.addresses import clean, client_number
from ratelimiter.api.authorization import LOOKUPS, Authorizer, _Client
from ratelimiter.app import create_app
from ratelimiter.errors import Unauthenticated, Unavailable
from ratelimiter.keys import credentials
from ratelimiter.keys.tokens import Scope
from ratelimiter.limiter.throttle import FailureThrottle

CLIENT_ADDRESS = "203.0.113.9"


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def issue_token(database):
    """Make a management token, as the admin does; returns its secret."""

    def issue_token(name="ci", *scopes, expires_in=None):
        secret = credentials.generate(prefix=credentials.MANAGEMENT_PREFIX)
        database.sql(
            "INSERT INTO management_token (name, hint, digest, scopes, expires_at)"
            " VALUES (%s, %s, %s, %s, now() + %s::interval)",
            name,
            credentials.hint(secret),
            credentials.digest(secret),
            [*(scopes or Scope)],
            expires_in,
        )
        return secret

    return issue_token


@asynccontextmanager
async def calling(application, address=CLIENT_ADDRESS):
    transport = httpx.ASGITransport(application, raise_app_exceptions=False, client=(address, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test", timeout=30) as http:
        yield http


@pytest.fixture
async def scraper(settings):
    """A client of an API whose metrics ask for a token."""
    application = create_app(settings.model_copy(update={"metrics_require_token": True}))
    async with (
        LifespanManager(application, startup_timeout=30, shutdown_timeout=30),
        calling(application) as http,
    ):
        yield http


def refusals(reason):
    return metrics.TOKEN_REFUSALS.labels(reason)._value.get()


async def test_a_token_opens_what_its_scopes_say_and_nothing_else(client, issue_token):
    document = (await client.get("/openapi.json")).json()
    operations = [
        (method.upper(), path.replace("{key_id}", "999"), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/api/keys")
    ]
    assert len(operations) == 9
    tokens = {scope: issue_token(f"only-{scope.value.replace(':', '-')}", scope) for scope in Scope}
    for method, path, operation in operations:
        needed = "keys:read" if method == "GET" else "keys:write"
        assert operation["security"] == [{"ManagementToken": [needed]}]
        for scope, secret in tokens.items():
            answer = await client.request(method, path, json={"name": "x"}, headers=bearer(secret))
            if scope == needed:
                assert answer.status_code not in {401, 403, 429}, (method, path)
                continue
            assert answer.status_code == 403
            problem = answer.json()
            assert problem["type"] == "urn:ratelimiter:problem:missing-scope"
            assert problem["scope"] == needed
            assert needed in problem["detail"]
            challenge = f'Bearer error="insufficient_scope", scope="{needed}"'
            assert answer.headers["www-authenticate"] == challenge


async def test_what_is_done_with_a_token_is_audited_under_its_name(client, issue_token, database):
    headers = bearer(issue_token("nightly-import"))
    assert (await client.post("/api/keys", json={"name": "x"}, headers=headers)).status_code == 201
    assert database.sql("SELECT actor, host(client_ip) FROM audit_event") == [
        ("api:nightly-import", CLIENT_ADDRESS)
    ]


async def test_a_token_that_is_not_good_is_refused_and_counted(client, issue_token, issue, database):
    revoked = issue_token("revoked")
    database.sql("UPDATE management_token SET revoked_at = now()")
    good = issue_token("good")
    expired = issue_token("expired", expires_in="-1 second")
    cases = [
        ("malformed", "wrong", "not one that was issued here"),
        ("malformed", good[:-1] + ("a" if good[-1] != "a" else "b"), "not one that was issued here"),
        ("malformed", (await issue())["key"], "not one that was issued here"),
        ("malformed", "gänsefüßchen", "not one that was issued here"),
        (
            "unknown",
            credentials.generate(prefix=credentials.MANAGEMENT_PREFIX),
            "not one that was issued here",
        ),
        ("revoked", revoked, "has been revoked"),
        ("expired", expired, "has expired"),
    ]
    for reason, secret, detail in cases:
        before = refusals(reason)
        headers = {"Authorization": f"Bearer {secret}".encode()}
        answer = await client.get("/api/keys", headers=headers)
        assert answer.status_code == 401, reason
        assert answer.headers["www-authenticate"] == "Bearer"
        assert detail in answer.json()["detail"]
        assert secret not in answer.text
        assert refusals(reason) == before + 1, reason
    assert database.sql("SELECT name FROM management_token WHERE last_used_at IS NOT NULL") == []
    assert (await client.get("/api/keys", headers=bearer(good))).status_code == 200


async def test_a_revocation_holds_at_once(client, issue_token, database):
    headers = bearer(issue_token())
    assert (await client.get("/api/keys", headers=headers)).status_code == 200
    database.sql("UPDATE management_token SET revoked_at = now()")
    assert (await client.get("/api/keys", headers=headers)).status_code == 401


async def test_a_use_is_noted_once_a_minute(client, issue_token, database):
    headers = bearer(issue_token())

    async def use():
        assert (await client.get("/api/keys", headers=headers)).status_code == 200
        return database.sql("SELECT last_used_at FROM management_token")

    first = await use()
    assert first != [(None,)]
    assert await use() == first
    database.sql("UPDATE management_token SET last_used_at = last_used_at - interval '61 seconds'")
    assert await use() > first


async def test_a_locked_token_is_let_in_without_waiting(client, issue_token, database):
    secret = issue_token()
    holder = psycopg2.connect(database.admin_url)
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM management_token FOR UPDATE")
        assert (await client.get("/api/keys", headers=bearer(secret))).status_code == 200
    holder.close()
    assert database.sql("SELECT last_used_at FROM management_token") == [(None,)]


async def test_whoever_fails_too_often_is_not_listened_to(
    app, client, issue_token, management, database, redis
):
    good = bearer(issue_token())
    before = refusals("throttled")
    wrong = bearer("wrong")
    answers = [await client.get("/api/keys", headers=wrong) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    with database.away():  # so that whatever was looked up would be a 503
        for headers in (wrong, good, management):
            answer = await client.get("/api/keys", headers=headers)
            assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:ratelimiter:problem:too-many-failures"
    assert 1 <= int(answer.headers["retry-after"]) <= 6
    assert refusals("throttled") == before + 5
    async with calling(app, "203.0.113.10") as other:
        assert (await other.get("/api/keys", headers=good)).status_code == 200
    assert (await client.get("/health/live")).status_code == 200
    await redis.delete(redis_keys.failures(client_number(CLIENT_ADDRESS)))  # as time would
    assert (await client.get("/api/keys", headers=good)).status_code == 200


async def test_a_network_of_ipv6_is_one_client(app, management):
    async with calling(app, "2001:db8::1") as http:
        for _ in range(10):
            await http.get("/api/keys", headers=bearer("wrong"))
    for address, status in (("2001:db8::2", 429), ("2001:db8:0:1::1", 200)):
        async with calling(app, address) as http:
            assert (await http.get("/api/keys", headers=management)).status_code == status


async def test_neither_a_missing_token_nor_a_missing_scope_is_a_guess(client, issue_token, management):
    reader = bearer(issue_token("reader", Scope.KEYS_READ))
    for _ in range(12):
        assert (await client.get("/api/keys")).status_code == 401
        assert (await client.delete("/api/keys/1", headers=reader)).status_code == 403
    assert (await client.get("/api/keys", headers=management)).status_code == 200


async def test_without_redis_failures_are_throttled_all_the_same(client, issue_token, redis_server):
    good = bearer(issue_token())
    redis_server.kill()
    assert (await client.get("/api/keys", headers=good)).status_code == 200
    answers = [await client.get("/api/keys", headers=bearer("wrong")) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert (await client.get("/api/keys", headers=good)).status_code == 429


async def test_without_postgres_a_call_is_told_to_try_again(client, issue_token, database):
    headers = bearer(issue_token())
    assert (await client.get("/api/keys", headers=headers)).status_code == 200
    with database.away():
        answer = await client.get("/api/keys", headers=headers)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert (await client.get("/api/keys", headers=headers)).status_code == 200


async def test_metrics_are_open_unless_they_ask_for_a_token(client, scraper, issue_token, management):
    assert (await client.get("/metrics")).status_code == 200
    assert "security" not in (await client.get("/openapi.json")).json()["paths"]["/metrics"]["get"]

    assert (await scraper.get("/metrics")).status_code == 401
    answer = await scraper.get("/metrics", headers=bearer(issue_token("keys", Scope.KEYS_WRITE)))
    assert (answer.status_code, answer.json()["scope"]) == (403, "metrics:read")
    for headers in (management, bearer(issue_token("prometheus", Scope.METRICS_READ))):
        answer = await scraper.get("/metrics", headers=headers)
        assert answer.status_code == 200
        assert list(text_string_to_metric_families(answer.text))
    described = (await scraper.get("/openapi.json")).json()["paths"]["/metrics"]["get"]
    assert described["security"] == [{"ManagementToken": ["metrics:read"]}]
    assert {"401", "403", "429", "503"} <= set(described["responses"])


async def test_without_postgres_metrics_go_on_for_a_token_that_was_good(
    scraper, issue_token, management, database, monkeypatch
):
    known, unseen = bearer(issue_token("known")), bearer(issue_token("unseen"))
    ending = bearer(issue_token("ending", expires_in="1 hour"))
    for headers in (known, ending):
        assert (await scraper.get("/metrics", headers=headers)).status_code == 200
    with database.away():
        before = metrics.TOKENS_FROM_MEMORY._value.get()
        answer = await scraper.get("/metrics", headers=known)
        assert answer.status_code == 200
        assert "\npostgres_up 0.0" in answer.text
        assert metrics.TOKENS_FROM_MEMORY._value.get() == before + 1
        assert (await scraper.get("/metrics", headers=management)).status_code == 200
        assert (await scraper.get("/metrics", headers=unseen)).status_code == 503
        assert (await scraper.get("/api/keys", headers=known)).status_code == 503
        with monkeypatch.context() as later:
            later.setattr("ratelimiter.api.authorization.time", lambda: 2**33)
            answer = await scraper.get("/metrics", headers=ending)
            assert (answer.status_code, "expired" in answer.text) == (401, True)
        with monkeypatch.context() as later:
            later.setattr("ratelimiter.api.authorization.KNOWN_FOR_SECONDS", -1)
            assert (await scraper.get("/metrics", headers=known)).status_code == 503
    database.sql("UPDATE management_token SET revoked_at = now()")
    assert (await scraper.get("/metrics", headers=known)).status_code == 401


async def test_a_postgres_that_hangs_holds_up_no_scrape_for_long(scraper, issue_token, database):
    headers = bearer(issue_token())
    assert (await scraper.get("/metrics", headers=headers)).status_code == 200
    holder = psycopg2.connect(database.admin_url)
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE management_token IN ACCESS EXCLUSIVE MODE")
        assert (await scraper.get("/metrics", headers=headers)).status_code == 200
        assert (await scraper.get("/api/keys", headers=headers)).status_code == 503
    holder.close()


async def test_while_postgres_hangs_lookups_that_nobody_waits_for_do_not_pile_up(redis, monkeypatch):
    monkeypatch.setattr("ratelimiter.api.authorization.LOOKUP_TIMEOUT_SECONDS", 0.2)
    answers, asked = threading.Event(), []
    client = _Client(client_number(CLIENT_ADDRESS), CLIENT_ADDRESS)

    class HangingStore:
        def find(self, digest):
            asked.append(digest)
            answers.wait()

    with ThreadPoolExecutor(LOOKUPS) as executor:
        authorizer = Authorizer("bootstrap", HangingStore(), FailureThrottle(redis, 1), executor, clean)

        async def ask():
            secret = credentials.generate(prefix=credentials.MANAGEMENT_PREFIX)
            with pytest.raises((Unavailable, Unauthenticated)) as refusal:
                await authorizer._authenticated(secret, client, from_memory=False)
            return refusal.type

        try:
            for _ in range(3):
                assert await asyncio.gather(*[ask() for _ in range(50)]) == [Unavailable] * 50
            assert len(asked) == LOOKUPS
            assert executor._work_queue.qsize() == 0
        finally:
            answers.set()
        assert await asyncio.gather(*[ask() for _ in range(LOOKUPS + 1)]) == [Unauthenticated] * (LOOKUPS + 1)
