import json
import re
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


async def metrics(client):
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


async def test_all_is_well(client):
    answer = await client.get("/health")
    assert answer.status_code == 200
    health = answer.json()
    assert health["status"] == "ok"
    assert set(health["checks"]) == {"redis", "postgres", "request_log"}
    assert health["checks"]["redis"]["latency_ms"] > 0
    assert health["checks"]["postgres"]["latency_ms"] > 0
    assert health["checks"]["request_log"]["backlog"] == 0


async def test_without_postgres_it_is_degraded_but_decides(client, database, issue):
    key = (await issue())["key"]
    await client.post("/api/request", headers={"X-API-Key": key})
    with database.away():
        answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert answer.json()["checks"]["postgres"]["status"] == "down"
        assert (await client.post("/api/request", headers={"X-API-Key": key})).status_code == 200
        answer = await client.get("/api/keys", headers={"Authorization": "Bearer token-of-the-tests-only"})
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:ratelimiter:problem:unavailable"
        assert answer.headers["retry-after"]
        samples = await metrics(client)
    assert samples["postgres_up", ()] == 0
    assert ("active_api_keys", (("tier", "free"),)) not in samples


async def test_a_log_that_lags_makes_it_degraded(client, redis):
    await redis.xadd("rl:{0}:log", {"head": "1 0 0"}, id=f"{int(time.time() - 31) * 1000}-0")
    await redis.hset("rl:{0}:log:state", "seq", 7)  # and no epoch: the drain waits for one
    health = (await client.get("/health")).json()
    assert health["status"] == "degraded"
    check = health["checks"]["request_log"]
    assert (check["status"], check["backlog"]) == ("lagging", 7)
    assert check["lag_seconds"] > 30
    samples = await metrics(client)
    assert samples["request_log_lag_seconds", ()] > 30
    assert 0 < samples["request_log_stream_fill_ratio", ()] < 0.01
    assert 0 < samples["redis_memory_used_bytes", ()] < samples["redis_memory_max_bytes", ()] == 256 * 2**20


async def test_a_stream_at_its_bound_loses_its_oldest_and_says_so(client, redis, eventually):
    before = (await metrics(client))["request_log_stream_overflows_total", ()]
    pipeline = redis.pipeline()
    for _ in range(4000):  # without an epoch beside them, for which the drain waits
        pipeline.xadd("rl:{0}:log", {"head": "1 0 0", "record": "x" * 500})
    await pipeline.execute()
    await redis.config_set("maxmemory", int(await redis.memory_usage("rl:{0}:log") * 1.9))

    async def overflown():
        return (await metrics(client))["request_log_stream_overflows_total", ()] > before

    await eventually(overflown)
    assert 0.8 < (await metrics(client))["request_log_stream_fill_ratio", ()] <= 1
    assert await redis.xlen("rl:{0}:log") == 3600
    assert (await client.get("/health")).json()["checks"]["redis"]["status"] == "ok"


async def test_a_log_whose_state_makes_no_sense_makes_it_degraded(client, redis):
    await redis.hset("rl:{0}:log:state", "seq", "nonsense")
    health = (await client.get("/health")).json()
    assert (health["status"], health["checks"]["request_log"]["status"]) == ("degraded", "down")


async def test_without_redis_it_is_degraded_but_decides(client, redis_server, issue):
    key = (await issue())["key"]
    redis_server.kill()
    answer = await client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["redis"]["status"] == "down"
    assert (await client.post("/api/request", headers={"X-API-Key": key})).status_code == 200
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    samples = await metrics(client)
    assert samples["redis_up", ()] == 0
    assert ("request_log_backlog", ()) not in samples
    assert ("redis_memory_used_bytes", ()) not in samples


async def test_without_redis_and_postgres_it_is_down_but_alive(client, redis_server, database):
    redis_server.kill()
    with database.away():
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "down")
        assert (await client.get("/health/live")).json() == {"status": "ok"}


@pytest.fixture
async def full(redis):
    """A Redis whose memory is used up."""
    # Far over it: what a closed connection gives back must not let a write through.
    await redis.config_set("maxmemory", (await redis.info("memory"))["used_memory"] // 2)


async def test_a_full_redis_is_degraded_and_counted_and_decisions_go_on(client, issue, full):
    key = (await issue(burst=10))["key"]
    before = await metrics(client)
    answers = [await client.post("/api/request", headers={"X-API-Key": key}) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert {answer.headers["x-ratelimit-mode"] for answer in answers} == {"local"}
    health = await client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["checks"]["redis"]["status"] == "down"
    after = await metrics(client)

    def grown(name, **labels):
        sample = name, tuple(sorted(labels.items()))
        return after[sample] - before[sample]

    assert after["redis_up", ()] == 0
    assert after["redis_memory_used_bytes", ()] >= after["redis_memory_max_bytes", ()] * 0.9
    assert after["request_log_stream_fill_ratio", ()] == 0, "there was no decision of Redis's to record"
    assert grown("rate_limit_redis_failures_total", reason="full") >= 1
    assert grown("rate_limit_breaker_openings_total") == 1
    assert grown("rate_limit_fallback_decisions_total", mode="local", outcome="allowed") == 10
    assert grown("rate_limit_fallback_decisions_total", mode="local", outcome="limited") == 1


async def test_the_metrics_count_decisions(client, issue):
    before = await metrics(client)
    key = (await issue(tier="basic", burst=2))["key"]
    await issue(tier="basic")
    for _ in range(3):
        await client.post("/api/request", headers={"X-API-Key": key})
    await client.get("/api/check", headers={"X-API-Key": "nonsense"})
    after = await metrics(client)

    def grown(name, **labels):
        sample = name, tuple(sorted(labels.items()))
        return after[sample] - before.get(sample, 0)

    assert grown("rate_limit_decisions_total", tier="basic", outcome="allowed") == 2
    assert grown("rate_limit_decisions_total", tier="basic", outcome="limited") == 1
    assert grown("rate_limit_hits_total", api_key_tier="basic") == 1
    assert grown("rate_limit_errors_total", problem="unauthenticated") == 1
    assert grown("request_duration_seconds_count", endpoint="/api/request") == 3
    assert grown("request_duration_seconds_count", endpoint="/api/keys") == 2
    assert after["active_api_keys", (("tier", "basic"),)] == 2
    assert after["redis_up", ()] == after["postgres_up", ()] == 1
    assert after["process_resident_memory_bytes", ()] > 10**6


async def test_no_label_is_the_clients_text(client, issue):
    key = (await issue())["key"]
    await client.post("/api/request", json={"endpoint": "/needle-1"}, headers={"X-API-Key": key})
    await client.get("/needle-2")
    await client.request("NEEDLE3", "/health")
    text = (await client.get("/metrics")).text
    assert "needle" not in text.lower()
    assert key not in text


@pytest.fixture
async def document(client):
    return (await client.get("/openapi.json")).json()


async def test_the_document_shows_every_route_with_its_statuses_and_headers(document):
    paths = document["paths"]
    assert set(paths) == {
        "/api/request",
        "/api/check",
        "/api/keys",
        "/api/keys/{key_id}",
        "/api/keys/{key_id}/rotate",
        "/api/keys/{key_id}/reset",
        "/api/keys/{key_id}/revoke",
        "/api/keys/{key_id}/bucket",
        "/api/usage",
        "/health",
        "/health/live",
        "/metrics",
    }
    spend = paths["/api/request"]["post"]
    assert set(spend["responses"]) == {"200", "400", "401", "403", "408", "413", "422", "429", "500", "503"}
    for status in ("200", "429"):
        assert {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} <= set(
            spend["responses"][status]["headers"]
        )
        assert {"RateLimit-Policy", "RateLimit", "X-Request-ID"} <= set(spend["responses"][status]["headers"])
    assert "Retry-After" in spend["responses"]["429"]["headers"]
    issue = paths["/api/keys"]["post"]["responses"]
    assert set(issue) == {"201", "400", "401", "403", "408", "413", "422", "429", "500", "503"}
    assert "scope" in issue["403"]["description"]
    assert "Retry-After" in issue["429"]["headers"]
    assert "application/problem+json" in issue["422"]["content"]


async def test_every_reference_in_the_document_leads_somewhere(document):
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    assert set(document["components"]["securitySchemes"]) == {"ManagementToken", "ApiKey"}


async def test_every_link_leads_to_an_operation_that_takes_its_parameters(document):
    parameters = {
        operation["operationId"]: {parameter["name"] for parameter in operation.get("parameters", ())}
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    issued = document["paths"]["/api/keys"]["post"]["responses"]["201"]["links"]
    assert set(issued) == {"show", "change", "bucket", "rotate", "reset", "revoke", "revoke for a reason"}
    found = [
        link
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert len(found) > len(issued)
    for link in found:
        assert set(link["parameters"]) <= parameters[link["operationId"]]


async def test_the_docs_are_served(client: httpx.AsyncClient):
    assert (await client.get("/")).headers["location"] == "/docs"
    page = (await client.get("/docs")).text
    assert "//" not in re.sub(r"<!--.*?-->", "", page), "nothing comes from another host"
    for asset in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert (await client.get(asset)).status_code == 200
