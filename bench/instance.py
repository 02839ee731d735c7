"""Ours: the service as `make run` starts it, with a database and a Redis of its own."""

import secrets
import sys
import time
from types import TracebackType
from typing import Final, Self

import httpx
from redis import Redis

from bench.errors import BenchError
from bench.processes import Cpu, server_seconds, tree_seconds
from bench.server import process_id, wait_until_up
from bench.stack import PROJECT, Stack
from local.child import Child, basic_environment
from local.ports import LOOPBACK, free_port
from local.redis import RedisServer
from ratelimiter.request_log.outbox import Outbox

_STANDSTILL_SECONDS: Final = 20.0
_QUIET_SECONDS: Final = 0.5
"""The backlog must stay empty for so long: denials may be recorded a moment late."""


class Instance:
    """One running service with a database and a Redis of its own; a context manager."""

    def __init__(
        self, stack: Stack, name: str, *, workers: int = 1, drain: bool = True, maxmemory: str = "256mb"
    ) -> None:
        self.token: Final = secrets.token_urlsafe(24)
        self._stack = stack
        self._folder = stack.folder / name
        self._redis = RedisServer(self._folder / "redis", secrets.token_urlsafe(16), maxmemory=maxmemory)
        self._name = name
        self._workers = workers
        self._drain = drain
        self._port = 0
        self._server: Child | None = None
        self._standalone_drain: Child | None = None
        self._client: Redis | None = None
        self._environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start_redis()
        try:
            self.start_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_redis(self) -> None:
        """Start the instance's Redis, and make its database; the service comes with `start_server`."""
        if self._client is not None:
            return
        self._redis.start()
        self._client = Redis.from_url(self._redis.url, protocol=2)
        self._environment = basic_environment() | {
            "API_DATABASE_URL": self._stack.make_database(f"bench_{self._name}"),
            "REDIS_URL": self._redis.url,
            "ADMIN_API_TOKEN": self.token,
        }

    def start_server(self) -> None:
        """Start the service, and return when it answers."""
        self._port = free_port()
        environment = self._environment | {
            "API_HOST": LOOPBACK,
            "API_PORT": str(self._port),
            "WEB_CONCURRENCY": str(self._workers),
            "REQUEST_LOG_DRAIN": "true" if self._drain else "false",
            "PROMETHEUS_MULTIPROC_DIR": str(self._folder / "metrics"),
            "LOG_LEVEL": "warning",
            # What is measured is decided by Redis, also where the machine makes it wait.
            "DECISION_TIMEOUT_SECONDS": "5",
        }
        self._server = Child(
            "ours",
            [sys.executable, "-m", "ratelimiter.server"],
            log=self._folder / "server.log",
            environment=environment,
            cwd=PROJECT / "fastapi-service",
            grace_seconds=8.0,
        )
        self._server.start()
        wait_until_up(self._server, f"{self.url}/health")

    def start_drain(self) -> int:
        """Start a drain by itself; returns its process id."""
        self._standalone_drain = Child(
            "drain",
            [sys.executable, "-m", "ratelimiter.request_log"],
            log=self._folder / "drain.log",
            environment=self._environment | {"LOG_LEVEL": "info"},
            cwd=PROJECT / "fastapi-service",
        )
        self._standalone_drain.start()
        assert self._standalone_drain.process is not None  # noqa: S101  # it was started above
        return self._standalone_drain.process.pid

    def stop(self) -> None:
        """Stop all parts of the instance."""
        if self._client is not None:
            self._client.close()
        for child in (self._server, self._standalone_drain):
            if child is not None:
                child.stop()
        self._redis.stop()

    @property
    def url(self) -> str:
        """Where the service listens."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port the service listens on."""
        return self._port

    @property
    def pid(self) -> int:
        """The service's first process."""
        return process_id(self._server)

    @property
    def redis(self) -> Redis:
        """A client of the instance's Redis."""
        assert self._client is not None  # noqa: S101  # made in start_redis
        return self._client

    @property
    def redis_url(self) -> str:
        """The address of the instance's Redis."""
        return self._redis.url

    def cpu(self) -> Cpu:
        """What all processes of ours have used so far."""
        worker, drain = server_seconds(self.pid)
        if self._standalone_drain is not None:
            drain += tree_seconds(process_id(self._standalone_drain))
        return Cpu(
            worker, drain, tree_seconds(self._redis.process.pid), tree_seconds(self._stack.postgres_pid)
        )

    def backlog(self) -> int:
        """Records that wait to be copied into PostgreSQL."""
        return Outbox(self.redis, 0).backlog()

    def settle(self) -> float:
        """Wait until the drain has nothing left to do; returns after how many seconds that was so."""
        began = progress = time.monotonic()
        empty_since: float | None = None
        lowest = self.backlog()
        while empty_since is None or time.monotonic() - empty_since < _QUIET_SECONDS:
            backlog = self.backlog()
            if backlog < lowest:
                lowest, progress = backlog, time.monotonic()
            if backlog == 0:
                empty_since = empty_since or time.monotonic()
            else:
                empty_since = None
                if time.monotonic() - progress > _STANDSTILL_SECONDS:
                    raise BenchError(
                        f"The drain stands still, with {backlog} records to go.\n{self._last_lines()}"
                    )
            time.sleep(0.02)
        return empty_since - began

    def _last_lines(self) -> str:
        return "\n".join(child.last_lines(3) for child in (self._server, self._standalone_drain) if child)

    def errors(self) -> float:
        """Requests of the data plane answered with an error that is no 429, or not decided by Redis."""
        lines = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=10).text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith(("rate_limit_errors_total", "rate_limit_fallback_decisions_total"))
        )
