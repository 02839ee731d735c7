"""The platform for the faults: servers of its own, two workers, keys that admit and keys that deny."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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

from .ground import Disk, Network, PostgresApart, is_within_reach
from .proxy import SlowProxy

WORKERS: Final = 2
_DATABASE: Final = "ratelimiter"


@dataclass(frozen=True)
class Key:
    """A key of the platform's."""

    id: int
    per_second: float
    burst: int
    secret: str = field(repr=False)


class Rig:
    """Starts everything; what a fault needs to reach is an attribute.

    PostgreSQL stands on a disk and in a network of its own where we may make them; otherwise, and if it is
    not to be ``apart``, both are None.
    """

    def __init__(self, *, apart: bool = True, **variables: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ratelimiter-faults-"))
        self.folder.chmod(0o755)
        apart = apart and is_within_reach()
        self.disk = Disk(self.folder / "disk") if apart else None
        self.network = Network() if apart else None
        if self.network is None:
            self.postgres = Postgres(self.folder / "postgres")
        else:
            self.postgres = PostgresApart(self.folder / "disk" / "postgres", self.network)
        self.redis = RedisServer(self.folder / "redis", "of-the-faults-only")
        self.redis_proxy: SlowProxy | None = None
        """Stands between the API and Redis, where a fault asks for it."""
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.keys: Sequence[Key] = ()
        """Those of the load that is played now."""
        self.appended = 0
        """Records of these keys that a fault has written beside the load."""
        self.broken: list[str] = []
        """Promises that a fault has seen broken."""
        # A connection for each request, so that any worker may get it.
        self._http = httpx.Client(
            trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._variables = variables
        self._output = (self.folder / "api.log").open("ab")

    def start(self) -> "Rig":
        """Start the servers, migrate, start the API."""
        if self.disk is not None and self.network is not None:
            self.disk.mount()
            self.network.make()
        self.postgres.start()
        provision(self.postgres.admin_url, _DATABASE, OWNER, API, createdb=True)
        manage(self.postgres.url(_DATABASE, OWNER), "migrate", "--verbosity=0")
        self.redis.start()
        self.start_server()
        return self

    def stop(self) -> None:
        """Stop all, and remove the folder; what has not been started is no error."""
        self.stop_server()
        self.redis.stop()
        self.postgres.stop()
        for ground in (self.network, self.disk):
            with contextlib.suppress(subprocess.CalledProcessError):  # it was not made
                if isinstance(ground, Network):
                    ground.remove()
                elif isinstance(ground, Disk):
                    ground.unmount()
        self.postgres.remove()
        self._http.close()
        self._output.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_server(self, **variables: str) -> None:
        """Start the API and wait until it listens."""
        self.server = self.start_module("ratelimiter.server", **variables)
        wait_for(self._is_live, seconds=30)

    def start_module(self, module: str, **variables: str) -> "subprocess.Popen[bytes]":
        """Start a module of the API's, on these servers."""
        return subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=PROJECT / "fastapi-service",
            env=os.environ
            | {
                "API_DATABASE_URL": self.postgres.url(_DATABASE, API),
                "REDIS_URL": self.redis.url,
                "ADMIN_API_TOKEN": ADMIN_API_TOKEN,
                "API_PORT": str(self.port),
                "WEB_CONCURRENCY": str(WORKERS),
            }
            | self._variables
            | variables,
            stderr=self._output,
            start_new_session=True,
        )

    def stop_server(self) -> None:
        """Stop the API as a service manager does."""
        if self.server is not None:
            self.server.terminate()
            self.server.wait(60)
            self.server = None

    @property
    def pid(self) -> int:
        """The process of the API's server."""
        assert self.server is not None
        return self.server.pid

    def issue(self, count: int, *, per_second: float, burst: int) -> list[Key]:
        """Make keys."""
        keys = []
        for _ in range(count):
            secret = credentials.generate()
            [(key_id,)] = self.sql(
                "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"
                " SELECT 'fault', %s, %s, id, %s, %s FROM tier WHERE name = 'free' RETURNING id",
                credentials.hint(secret),
                credentials.digest(secret),
                int(per_second * 3600),
                burst,
            )
            keys.append(Key(key_id, per_second, burst, secret))
        return keys

    def revoke(self, key: Key) -> None:
        """Revoke a key, as an operator does."""
        self.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key.id)

    def ask(self, secret: str) -> httpx.Response:
        """Ask for one token, on a connection of its own."""
        return self._http.post(f"{self.url}/api/request", headers={"X-API-Key": secret})

    def is_normal(self, key: Key) -> bool:
        """Whether all workers decide by Redis."""
        return all("x-ratelimit-mode" not in self.ask(key.secret).headers for _ in range(12))

    def ask_all_workers(self, secret: str) -> set[int]:
        """The statuses of a dozen answers, so that each worker has given some."""
        return {self.ask(secret).status_code for _ in range(12)}

    def sql(self, statement: str, *args: object) -> list[tuple[Any, ...]]:
        """Run a statement as PostgreSQL's superuser."""
        return execute(self.admin_url, statement, *args)

    @property
    def admin_url(self) -> str:
        """The database, as PostgreSQL's superuser."""
        return self.postgres.admin_url.rsplit("/", 1)[0] + f"/{_DATABASE}"

    def rows(self) -> tuple[int, int]:
        """How many decisions about the load's keys stand in the log, and how many of these twice."""
        [(rows, doubled)] = self.sql(
            "SELECT coalesce(sum(count), 0), count(*) - count(DISTINCT decision_id) FROM request_log"
            " WHERE api_key_id = ANY(%s)",
            [key.id for key in self.keys],
        )
        return int(rows), int(doubled)

    def rows_at_rest(self, are_all: Callable[[int], bool], patience_seconds: float) -> tuple[int, int]:
        """The rows once they are all there, and a second later still are; or no longer grow for so long."""
        seen, since = (-1, 0), time.monotonic()
        while time.monotonic() - since < (1.0 if are_all(seen[0]) else patience_seconds):
            rows = self.rows()
            if rows != seen:
                seen, since = rows, time.monotonic()
            time.sleep(0.2)
        return seen

    def metric(self, name: str) -> float:
        """The sum of a metric's series, over all workers."""
        text = self._http.get(f"{self.url}/metrics").text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((name + " ", name + "{"))
        )

    def log(self) -> str:
        """What the API said."""
        return (self.folder / "api.log").read_text()

    def _is_live(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.log()
        try:
            return self._http.get(f"{self.url}/health/live").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
