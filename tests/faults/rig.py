"""The platform for the faults: servers of its own, two workers, keys that admit and keys that deny."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from local.ports import LOOPBACK, free_port
from local.postgres import Postgres
from local.redis import RedisServer
from local.roles import provision
from ratelimiter.keys import credentials
from tests.servers import ADMIN_API_TOKEN, API, OWNER, PROJECT, execute, manage
from tests.waiting import wait_for

WORKERS: Final = 2
_DATABASE: Final = "ratelimiter"


class Rig:
    """Starts everything; what a fault needs to reach is an attribute."""

    def __init__(self, **variables: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ratelimiter-faults-"))
        self.folder.chmod(0o755)
        self.postgres = Postgres(self.folder / "postgres")
        self.redis = RedisServer(self.folder / "redis", "of-the-faults-only")
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.redis_url: str | None = None
        """Where the API finds Redis, if not where it is."""
        self._variables = variables
        self._output = (self.folder / "api.log").open("ab")

    def start(self) -> "Rig":
        """Start the servers, migrate, start the API."""
        self.postgres.start()
        provision(self.postgres.admin_url, _DATABASE, OWNER, API, createdb=True)
        manage(self.postgres.url(_DATABASE, OWNER), "migrate", "--verbosity=0")
        self.redis.start()
        self.start_server()
        return self

    def stop(self) -> None:
        """Stop all, and remove the folder."""
        self.stop_server()
        self.redis.stop()
        self.postgres.stop()
        self.postgres.remove()
        self._output.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_server(self) -> None:
        """Start the API and wait until it listens."""
        self.server = subprocess.Popen(
            [sys.executable, "-m", "ratelimiter.server"],
            cwd=PROJECT / "fastapi-service",
            env=os.environ
            | {
                "API_DATABASE_URL": self.postgres.url(_DATABASE, API),
                "REDIS_URL": self.redis_url or self.redis.url,
                "ADMIN_API_TOKEN": ADMIN_API_TOKEN,
                "API_PORT": str(self.port),
                "WEB_CONCURRENCY": str(WORKERS),
            }
            | self._variables,
            stderr=self._output,
            start_new_session=True,
        )
        wait_for(self._is_live, seconds=30)

    def stop_server(self) -> None:
        """Stop the API as a service manager does."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(30)
            self.server = None

    def issue(self, count: int, requests_per_hour: int, burst: int) -> list[str]:
        """Make keys; returns their secrets."""
        secrets = [credentials.generate() for _ in range(count)]
        for secret in secrets:
            self.sql(
                "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"
                " SELECT 'fault', %s, %s, id, %s, %s FROM tier WHERE name = 'free'",
                credentials.hint(secret),
                credentials.digest(secret),
                requests_per_hour,
                burst,
            )
        return secrets

    def sql(self, statement: str, *args: object) -> list[tuple[Any, ...]]:
        """Run a statement as PostgreSQL's superuser."""
        return execute(self.admin_url, statement, *args)

    @property
    def admin_url(self) -> str:
        """The database, as PostgreSQL's superuser."""
        return self.postgres.admin_url.rsplit("/", 1)[0] + f"/{_DATABASE}"

    def rows(self) -> int:
        """The decisions that stand in the log."""
        return int(self.sql("SELECT coalesce(sum(count), 0) FROM request_log")[0][0])

    def metric(self, name: str) -> float:
        """The sum of a metric's series, over all workers."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=10).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((name + " ", name + "{"))
        )

    def family(self) -> list[int]:
        """The API's processes: the server first, then its workers and the drain."""
        assert self.server is not None
        return process_family(self.server.pid)

    def log(self) -> str:
        """What the API said."""
        return (self.folder / "api.log").read_text()

    def rows_at_rest(self, at_least: int, within_seconds: float = 60.0) -> int:
        """The rows once they are as many as expected, or no longer grow."""
        deadline = time.monotonic() + within_seconds
        seen, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                rows = self.rows()
                if rows != seen:
                    seen, since = rows, time.monotonic()
                if time.monotonic() - since > (2.0 if rows >= at_least else 10.0):
                    break
            time.sleep(0.2)
        return seen

    def _is_live(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.log()
        try:
            return httpx.get(f"{self.url}/health/live", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def process_family(pid: int) -> list[int]:
    """A process and all its descendants, in the order of their age."""
    family = [pid]
    for member in family:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                family += map(int, task.read_text().split())
    return family
