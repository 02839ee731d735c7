"""The whole platform, started once for the tests that walk through it; and the API's server by itself."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from local.ports import free_port
from ratelimiter.keys import credentials
from tests.processes import drains, family
from tests.runs import running
from tests.servers import ADMIN_API_TOKEN, PROJECT
from tests.site import Site
from tests.waiting import wait_for


@pytest.fixture(scope="session")
def platform():
    """The values of `.local/env` of a running platform with two API workers."""
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-e2e-"))
    folder.chmod(0o755)
    with running(folder / "state", WEB_CONCURRENCY="2") as run:
        yield run.wait_until_up() | {"LOCAL_DIR": str(run.state)}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def site(platform):
    site = Site(platform)
    yield site
    site.http.close()


@pytest.fixture
def api(platform):
    with httpx.Client(base_url=platform["API_URL"], trust_env=False, timeout=30) as http:
        yield http


class Server:
    """One ``python -m ratelimiter.server`` (or uvicorn itself), with a key to ask by."""

    def __init__(
        self,
        database,
        redis_server,
        output,
        *,
        command=("ratelimiter.server",),
        folder=PROJECT / "fastapi-service",
        **variables,
    ):
        self.database = database
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.key_id, self.key = self.issue(requests_per_hour=36000, burst=1000)
        self.environment = os.environ | {
            "API_DATABASE_URL": database.api_url,
            "REDIS_URL": redis_server.url,
            "ADMIN_API_TOKEN": ADMIN_API_TOKEN,
            "API_PORT": str(port),
            "UVICORN_PORT": str(port),
            "WEB_CONCURRENCY": "2",
            "DECISION_TIMEOUT_SECONDS": "5",
            **variables,
        }
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=self.environment,
                stderr=file,
                start_new_session=True,
            )

    def issue(self, **limits):
        """Make a key; returns its id and secret."""
        secret = credentials.generate()
        [(key_id,)] = self.database.sql(
            "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"
            " SELECT 'test', %s, %s, id, %s, %s FROM tier WHERE name = 'free' RETURNING id",
            credentials.hint(secret),
            credentials.digest(secret),
            limits["requests_per_hour"],
            limits["burst"],
        )
        return key_id, secret

    def said(self):
        return self.output.read_text()

    def is_up(self):
        assert self.process.poll() is None, self.said()
        try:
            return httpx.get(f"{self.url}/health/live", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def drains(self):
        return set(drains(self.process.pid))

    def family(self):
        return family(self.process.pid)

    def ask(self, times=1):
        for _ in range(times):
            answer = httpx.post(f"{self.url}/api/request", headers={"X-API-Key": self.key}, trust_env=False)
            assert answer.status_code == 200, answer.text

    def rows(self):
        return self.database.sql("SELECT count(*) FROM request_log")[0][0]

    def metric(self, name):
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def kill_all(self):
        # By their group, since uvicorn's workers live on without the server.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(database, redis_server, tmp_path):
    servers = []

    def start_server(**variables):
        server = Server(database, redis_server, tmp_path / f"{len(servers)}.log", **variables)
        servers.append(server)
        wait_for(server.is_up, seconds=30)
        return server

    yield start_server
    for server in servers:
        server.kill_all()
