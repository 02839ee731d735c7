"""A running platform, and a Prometheus that watches it second by second."""

import logging
import shutil
import tempfile
from pathlib import Path

import pytest

from local.prometheus import Prometheus
from tests.runs import running
from tests.servers import PROJECT


@pytest.fixture
def folder():
    # Not below pytest's tmp_path: as root, PostgreSQL runs as a user who cannot enter that one.
    path = Path(tempfile.mkdtemp(prefix="ratelimiter-watch-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def run(folder):
    """A run of the platform with two API workers; its values are in `run.values`."""
    with running(folder / "state", WEB_CONCURRENCY="2") as run:
        run.values = run.wait_until_up()
        yield run


@pytest.fixture
def prometheus(folder, run):
    admin = run.values["ADMIN_URL"]
    targets = {"api": run.values["API_URL"], "admin": admin, "notices": f"{admin}/metrics/notices"}
    with Prometheus(folder / "prometheus", PROJECT, targets, scrape_seconds=1) as server:
        yield server


@pytest.fixture(autouse=True)
def _quiet_requests():
    """A failure is not to be buried under a line for each of a thousand requests."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
