"""Every line of a log is one JSON object, however the service was started."""

import json

import httpx

from tests.waiting import wait_for


def test_uvicorn_by_itself_logs_json_and_no_query(start):
    server = start(command=("uvicorn", "main:app"), WEB_CONCURRENCY="1")
    sent = {"X-Request-ID": "by-uvicorn-1", "Authorization": "Bearer wrong"}
    httpx.get(f"{server.url}/api/keys", params={"limit": "a-query"}, headers=sent, trust_env=False)
    wait_for(lambda: '"event": "request"' in server.said())
    server.process.terminate()
    server.process.wait(20)
    lines = [json.loads(line) for line in server.said().splitlines()]
    assert all({"time", "level", "event", "logger"} <= set(line) for line in lines)
    [request] = [line for line in lines if line["event"] == "request"]
    assert (request["request_id"], request["status"]) == ("by-uvicorn-1", 401)
    assert "a-query" not in server.said()
