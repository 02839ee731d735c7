"""The drain is killed at random moments under load: every decision becomes a row, none twice."""

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter

import httpx
import pytest

from local.ports import free_port
from ratelimiter.keys import credentials
from tests.servers import ADMIN_API_TOKEN, PROJECT
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)

KILLS = 6
CLIENTS = 8


@pytest.fixture
def environment(database, redis_server):
    return os.environ | {
        "API_DATABASE_URL": database.api_url,
        "REDIS_URL": redis_server.url,
        "ADMIN_API_TOKEN": ADMIN_API_TOKEN,
        "API_PORT": str(free_port()),
        "REQUEST_LOG_DRAIN": "false",
        "DECISION_TIMEOUT_SECONDS": "5",
        "LOG_LEVEL": "warning",
    }


@pytest.fixture
def start(environment):
    """Start a module of the API service as a process; all are ended by id at the end."""
    processes = []

    def start_module(module):
        process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=PROJECT / "fastapi-service", env=environment
        )
        processes.append(process)
        return process

    yield start_module
    for process in processes:
        if process.poll() is None:
            process.terminate()
        process.wait(15)


@pytest.fixture
def key(database):
    secret = credentials.generate()
    database.sql(
        # Ten a second come back: fewer than the clients ask for, on however slow a machine.
        "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"
        " SELECT 'load', %s, %s, id, 36000, 50 FROM tier WHERE name = 'free'",
        credentials.hint(secret),
        credentials.digest(secret),
    )
    return secret


async def load(url, key, answers, done):
    """Clients that ask one after another until all is done."""

    async def client(http):
        while not done.is_set():
            answer = await http.post("/api/request", headers={"X-API-Key": key})
            answers[answer.status_code] += 1

    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))


async def kill_drains_at_work(start, written):
    """Start a drain, kill it a random while after its first rows, and again; two at once now and then."""
    randomness = random.Random(20260301)  # noqa: S311  # repeatable, not secret
    kills = 0
    while kills < KILLS:
        before = written()
        drains = [start("ratelimiter.request_log") for _ in range(randomness.choice([1, 1, 2]))]
        await asyncio.to_thread(wait_for, lambda before=before: written() > before, seconds=30)
        await asyncio.sleep(randomness.uniform(0, 0.5))
        for drain in drains:
            drain.kill()
            drain.wait()
            kills += 1


async def test_no_row_is_lost_or_doubled(start, environment, key, database):
    url = f"http://127.0.0.1:{environment['API_PORT']}"
    start("ratelimiter.server")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        deadline = time.monotonic() + 30
        while True:
            try:
                await http.get("/health/live")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

    def written():
        return database.sql("SELECT count(*) FROM request_log")[0][0]

    answers, done = Counter(), asyncio.Event()
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(load(url, key, answers, done))
        await kill_drains_at_work(start, written)
        done.set()
    assert set(answers) == {200, 429}

    start("ratelimiter.request_log")
    by_status = "SELECT status_code, sum(count) FROM request_log GROUP BY 1"
    deadline = time.monotonic() + 30
    while (rows := dict(database.sql(by_status))) != answers:
        assert sum(rows.values()) <= answers.total(), "rows were doubled"
        assert time.monotonic() < deadline, (rows, answers)
        await asyncio.sleep(0.1)
    for table in ("usage_minutely", "usage_hourly", "usage_daily", "endpoint_hourly"):
        sums = database.sql(f"SELECT sum(allowed), sum(limited) FROM {table}")  # noqa: S608  # a name of ours
        assert sums == [(answers[200], answers[429])]
