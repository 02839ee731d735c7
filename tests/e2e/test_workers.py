"""However many workers there are, they are one service: counted, drained and told of edits together."""

import signal
from collections import Counter

import httpx
import pytest
import redis

from tests.servers import ADMIN_API_TOKEN
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)


def statuses(server, key, times):
    """Ask on so many connections, which the kernel spreads over the workers."""
    headers = {"X-API-Key": key}
    return Counter(
        httpx.post(f"{server.url}/api/request", headers=headers, trust_env=False).status_code
        for _ in range(times)
    )


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_metrics_drain_and_news_are_right_with_any_number(start, workers):
    server = start(WEB_CONCURRENCY=workers)
    _, limited = server.issue(requests_per_hour=1, burst=30)
    assert statuses(server, limited, 80) == {200: 30, 429: 50}
    decisions = "rate_limit_decisions_total"
    wait_for(lambda: server.metric(decisions) == 80)  # a worker may be slow to hand on
    assert {server.metric(decisions) for _ in range(5)} == {80.0}, "whichever worker answers"
    assert server.metric("rate_limit_hits_total") == 50
    counted = "SELECT status_code, sum(count) FROM request_log GROUP BY 1 ORDER BY 1"
    wait_for(lambda: server.database.sql(counted) == [(200, 30), (429, 50)])
    assert len(server.drains()) == 1

    key_id, revoked = server.issue(requests_per_hour=36000, burst=1000)
    assert statuses(server, revoked, 20) == {200: 20}
    answer = httpx.delete(
        f"{server.url}/api/keys/{key_id}",
        headers={"Authorization": f"Bearer {ADMIN_API_TOKEN}"},
        trust_env=False,
    )
    assert answer.status_code == 204
    wait_for(lambda: statuses(server, revoked, 20) == {403: 20})


def test_decisions_without_redis_are_counted_over_all_workers_and_recorded_later(start, redis_server):
    server = start()
    _, key = server.issue(requests_per_hour=1, burst=100)
    assert statuses(server, key, 10) == {200: 10}
    with redis.Redis.from_url(redis_server.url) as client:
        # Far over it: what a closed connection gives back must not let a write through.
        client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
        assert statuses(server, key, 40) == {200: 40}
        assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "degraded"
        wait_for(lambda: server.metric("rate_limit_fallback_decisions_total") == 40)
        assert server.metric('rate_limit_fallback_decisions_total{mode="local",outcome="allowed"}') == 40
        assert server.metric('rate_limit_redis_failures_total{reason="full"}') > 0
        assert server.metric('rate_limit_redis_failures_total{reason="other"}') == 0
        assert server.metric("rate_limit_breaker_openings_total") in {1, 2}, "once in a worker that was asked"
        client.config_set("maxmemory", 0)
    wait_for(lambda: server.rows() == 50)
    assert server.metric("request_log_dropped_total") == 0


def test_a_stop_loses_no_denial_that_was_only_counted(start):
    server = start()
    _, key = server.issue(requests_per_hour=1, burst=5)
    with httpx.Client(base_url=server.url, headers={"X-API-Key": key}, trust_env=False) as http:
        answers = Counter(http.post("/api/request").status_code for _ in range(300))
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) == 0
    assert answers == {200: 5, 429: 295}
    start()  # copies what the first one's drain has left
    counted = "SELECT status_code, sum(count) FROM request_log GROUP BY 1 ORDER BY 1"
    wait_for(lambda: server.database.sql(counted) == [(200, 5), (429, 295)])
    [(rows,)] = server.database.sql("SELECT count(*) FROM request_log WHERE status_code = 429")
    assert rows < 295
