"""The server's drain: one process however many workers, kept running, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from local.ports import free_port
from tests.processes import all_gone
from tests.servers import PROJECT
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(120)


def test_workers_share_one_drain_whose_counters_are_the_servers(start):
    server = start()
    server.ask(5)
    wait_for(lambda: server.rows() == 5)
    assert len(server.drains()) == 1
    threads = [
        path.read_text().strip()
        for pid in server.family()
        for path in Path(f"/proc/{pid}/task").glob("*/comm")
        if pid not in server.drains()
    ]
    assert "drain-0" not in threads
    wait_for(lambda: server.metric("request_log_written_total") == 5)


def test_a_drain_that_is_killed_comes_back_and_rows_go_on(start):
    server = start()
    server.ask(3)
    wait_for(lambda: server.metric("request_log_written_total") == 3)
    [drain] = server.drains()
    os.kill(drain, signal.SIGKILL)
    server.ask(4)
    wait_for(lambda: server.rows() == 7)
    [other] = server.drains()
    assert other != drain
    # What the dead one has counted still counts.
    wait_for(lambda: server.metric("request_log_written_total") == 7)
    assert server.metric('request_log_drain_failures_total{dependency="process"}') == 1
    assert "drain_process_ended" in server.said()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_drain_does_not_outlive_a_server_that_is_killed(start, workers):
    server = start(WEB_CONCURRENCY=workers)
    drains = server.drains()
    assert len(drains) == 1
    server.process.kill()
    server.process.wait()
    assert all_gone(drains, 5)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "whole_group"), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)]
)
def test_a_stop_leaves_nothing_behind(start, workers, number, whole_group):
    server = start(WEB_CONCURRENCY=workers)
    server.ask(2)
    family = server.family()
    began = time.monotonic()
    # Ctrl-C at a terminal, and some service managers, signal every process of the group.
    (os.killpg if whole_group else os.kill)(server.process.pid, number)
    assert server.process.wait(15) == 0
    assert time.monotonic() - began < 6
    assert all_gone(family, 1)
    assert "Traceback" not in server.said()
    assert "drain_process_ended" not in server.said()


def test_a_drain_that_cannot_start_does_not_stop_the_api(start, tmp_path):
    # Found before the package's own main module: a drain that fails at once.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif '--until-stdin-closes' in sys.orig_argv: sys.exit('no drain today')\n"
    )
    server = start(PYTHONPATH=str(tmp_path))
    server.ask(2)
    wait_for(lambda: server.said().count("drain_process_ended") >= 2)
    assert server.process.poll() is None
    assert server.rows() == 0
    server.ask(1)
    assert server.metric("request_log_backlog") == 3


def test_the_server_starts_no_drain_where_it_is_told_so(start):
    server = start(REQUEST_LOG_DRAIN="false", DRAIN_METRICS_PORT=str(free_port()))
    server.ask(1)
    assert server.drains() == set()


def test_the_servers_drain_leaves_the_metrics_port_to_one_that_runs_by_itself(start):
    port = free_port()
    server = start(DRAIN_METRICS_PORT=str(port))
    server.ask(1)
    wait_for(lambda: server.rows() == 1)
    alone = subprocess.Popen(
        [sys.executable, "-m", "ratelimiter.request_log"],
        cwd=PROJECT / "fastapi-service",
        env=server.environment,
        stdin=subprocess.DEVNULL,
    )
    try:

        def serves():
            assert alone.poll() is None
            try:
                return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(serves)
    finally:
        alone.terminate()
        assert alone.wait(10) == 0


@pytest.mark.parametrize("closed", [True, False])
def test_a_drain_by_itself_does_not_look_at_its_standard_input(database, redis_server, closed):
    environment = os.environ | {"API_DATABASE_URL": database.api_url, "REDIS_URL": redis_server.url}
    command = [sys.executable, "-m", "ratelimiter.request_log"]
    if closed:
        command = ["sh", "-c", 'exec "$0" "$@" <&-', *command]
    drain = subprocess.Popen(
        command, cwd=PROJECT / "fastapi-service", env=environment, stdin=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: database.sql("SELECT * FROM drain_cursor"))
        time.sleep(0.5)
        assert drain.poll() is None
    finally:
        drain.terminate()
        assert drain.wait(10) == 0
