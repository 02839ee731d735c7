"""Fuzzes the API for some seconds, always alike; `make fuzz` does it for minutes, each time otherwise."""

import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.runs import running
from tests.waiting import wait_for

from .openapi import complaints, fuzz

SEED = 1


@pytest.fixture
def platform():
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-fuzz-"))
    folder.chmod(0o755)
    with running(folder / "state", WEB_CONCURRENCY="2") as run:
        yield run.wait_until_up() | {"LOCAL_DIR": str(run.state)}
    shutil.rmtree(folder, ignore_errors=True)


def metric(platform, name):
    lines = httpx.get(f"{platform['API_URL']}/metrics", trust_env=False, timeout=10).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def test_every_answer_is_one_that_the_document_describes(platform):
    assert fuzz(platform, SEED, "--max-examples", "5") == 0
    assert complaints(platform) == []
    wait_for(lambda: metric(platform, "request_log_backlog") == 0)
    assert metric(platform, "request_log_written_total") > 0
    assert metric(platform, "request_log_malformed_total") == 0
