"""`make run`: bring the whole platform up, watch over it, and take it down again without a trace.

What can be checked without starting anything is checked first. From then on, whatever ends the run (a signal,
a dead child, an error) goes through `tear_down`, which stops the services before the servers they use.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx
import psycopg2

from local import environment, lock
from local.child import Child, stop_all
from local.errors import LocalError
from local.external import External, one_line
from local.ports import LOOPBACK, require_free
from local.postgres import Postgres
from local.redis import RedisServer
from local.roles import Role, provision
from local.server import Server
from local.services import Services
from local.signals import StopRequested, StopSignals
from local.steps import Steps

DATABASE = "ratelimiter"
OWNER = "ratelimiter_owner"
API_ROLE = "ratelimiter_api"

_HEALTHY_SECONDS = 60.0
_HTTP_SECONDS = 3.0
_POLL_SECONDS = 0.1
# The children of a run that was killed are told to end by the kernel; they may still hold the ports.
_PREDECESSOR_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """Where a run lives: project, state folder, two ports on 127.0.0.1; and whether it sends notices."""

    project: Path
    state: Path
    api_port: int
    admin_port: int
    send_notices: bool = True


def run(options: Options, steps: Steps) -> int:
    """Run the platform until a stop is asked for. Returns the exit code: 0, or 128 + signal if it was not up.

    Raises `LocalError` when it cannot start, or a child dies; everything is stopped by then.
    """
    platform = Platform(options, steps)
    try:
        with _alone(options.state) as predecessor_was_killed:
            try:
                with StopSignals():
                    platform.check(_PREDECESSOR_SECONDS if predecessor_was_killed else 0.0)
                    platform.bring_up()
                    platform.greet()
                    platform.watch()
            finally:
                platform.tear_down()
    except StopRequested as stop:
        steps.line("Everything is stopped.")
        return 0 if platform.is_up else stop.exit_code


class Platform:
    """The servers and services of one run."""

    def __init__(self, options: Options, steps: Steps) -> None:
        """Nothing is started before `bring_up`."""
        self.is_up = False
        self._options = options
        self._steps = steps
        self._external = External.from_environment()
        self._logs = options.state / "log"
        self._env_file = options.state / "env"
        self._values: dict[str, str] = {}
        self._servers: list[Server] = []
        self._services: list[Child] = []

    def check(self, wait_seconds: float) -> None:
        """Raise `LocalError` for what would fail anyway. Ports in use get `wait_seconds` to become free."""
        if self._options.api_port == self._options.admin_port:
            raise LocalError("API_PORT and ADMIN_PORT must differ.")
        require_free(self._options.api_port, "API_PORT", wait_seconds)
        require_free(self._options.admin_port, "ADMIN_PORT", wait_seconds)
        self._external.check()

    def bring_up(self) -> None:
        """Start everything, in order, and return when both services are healthy."""
        self._values = environment.with_secrets(environment.load(self._env_file)) | {
            "API_URL": f"http://{LOOPBACK}:{self._options.api_port}",
            "ADMIN_URL": f"http://{LOOPBACK}:{self._options.admin_port}",
        }
        self._logs.mkdir(mode=0o700, exist_ok=True)
        self._start_postgres()
        self._start_redis()
        environment.save(self._env_file, self._values)
        services = Services(self._options.project, self._logs, self._values)
        with self._steps.step("Database schema"):
            services.manage("migrate", "--no-input")
        with self._steps.step("Operator account"):
            services.manage("create_operator")
        with self._steps.step("API and admin"):
            api, admin = services.api(self._options.api_port), services.admin(self._options.admin_port)
            self._services += [api, admin]
            for service in self._services:
                service.start()
            services.manage("register_api_token")  # while they start: the admin asks the API with it later
            self._wait(lambda: _answers(self._values["API_URL"]), api)
            self._wait(lambda: _answers(self._values["ADMIN_URL"]), admin)
            if self._options.send_notices:
                notices = services.notices()
                self._services.append(notices)
                notices.start()
        if not self._demo_key_works():
            with self._steps.step("Demo key"):
                key = services.manage("create_api_key", "--name", "demo", "--tier", "free").strip()
                self._values["DEMO_API_KEY"] = key
                environment.save(self._env_file, self._values)
        self.is_up = True

    def greet(self) -> None:
        """Print where everything is, how to log in, and a first request to paste."""
        values = self._values
        for text in (
            "",
            f"  API       {values['API_URL']}   (documentation: {values['API_URL']}/docs)",
            f"  Admin     {values['ADMIN_URL']}/admin/",
            f"  Login     {values['DJANGO_SUPERUSER_USERNAME']}   {values['DJANGO_SUPERUSER_PASSWORD']}",
            f"  Demo key  {values['DEMO_API_KEY']}",
            "",
            "Spend one of its tokens:",
            "",
            f"  curl -i -X POST -H 'X-API-Key: {values['DEMO_API_KEY']}' {values['API_URL']}/api/request",
            "",
            f"Ctrl-C stops everything. Data, logs and these secrets stay in {self._options.state}",
        ):
            self._steps.line(text)

    def watch(self) -> NoReturn:
        """Wait until a child has died, and raise `LocalError` then."""
        while True:
            self._require_alive()
            time.sleep(_POLL_SECONDS)

    def tear_down(self) -> None:
        """Stop what was started: the services first, then the servers they use. Takes under 10 s."""
        if self._servers or self._services:
            with suppress(OSError):  # whoever read our output may be gone
                self._steps.line("Stopping …")
        stop_all(self._services)
        stop_all([server.child for server in self._servers if server.child is not None])

    def _start_postgres(self) -> None:
        if self._external.database_url is not None and self._external.api_database_url is not None:
            self._values["DATABASE_URL"] = self._external.database_url
            self._values["API_DATABASE_URL"] = self._external.api_database_url
            return
        postgres = Postgres(self._options.state / "postgres", log=self._logs / "postgres.log")
        self._servers.append(postgres)
        with self._steps.step("PostgreSQL"):
            postgres.start()
        if postgres.notice:
            self._steps.line(f"  {postgres.notice}")
        owner, api = Role(OWNER, environment.new_secret()), Role(API_ROLE, environment.new_secret())
        with self._steps.step("Database roles"):
            try:
                provision(postgres.admin_url, DATABASE, owner, api)
            except psycopg2.Error as exc:
                raise LocalError(f"The database roles cannot be made: {one_line(exc)}") from exc
        self._values["DATABASE_URL"] = postgres.url(DATABASE, owner)
        self._values["API_DATABASE_URL"] = postgres.url(DATABASE, api)

    def _start_redis(self) -> None:
        if self._external.redis_url is not None:
            self._values["REDIS_URL"] = self._external.redis_url
            return
        log = self._logs / "redis.log"
        redis = RedisServer(self._options.state / "redis", environment.new_secret(), log=log)
        self._servers.append(redis)
        with self._steps.step("Redis"):
            redis.start()
        self._values["REDIS_URL"] = redis.url

    def _demo_key_works(self) -> bool:
        # Asked, not assumed: the database may be another one, or someone may have revoked the key.
        key = self._values.get("DEMO_API_KEY")
        if not key:
            return False
        status = _status(f"{self._values['API_URL']}/api/check", {"X-API-Key": key})
        return status not in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}

    def _wait(self, healthy: Callable[[], bool], service: Child) -> None:
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while not healthy():
            self._require_alive()
            if time.monotonic() > deadline:
                raise LocalError(
                    _with_log(f"{service.name} is not healthy after {_HEALTHY_SECONDS:.0f} s", service)
                )
            time.sleep(_POLL_SECONDS)

    def _require_alive(self) -> None:
        servers = [server.child for server in self._servers if server.child is not None]
        for child in [*servers, *self._services]:
            if not child.alive:
                raise LocalError(_with_log(f"{child.name} {child.how_it_ended()}", child))


def _with_log(sentence: str, child: Child) -> str:
    lines = child.last_lines().splitlines()
    return "\n    ".join([f"{sentence}; its log {child.log} ends with:", *lines])


def _answers(url: str) -> bool:
    return _status(f"{url}/health") == httpx.codes.OK


def _status(url: str, headers: dict[str, str] | None = None) -> int | None:
    try:
        # trust_env=False: a proxy of the caller's is not meant for 127.0.0.1.
        return httpx.get(url, headers=headers, timeout=_HTTP_SECONDS, trust_env=False).status_code
    except httpx.TransportError:
        return None


@contextmanager
def _alone(state: Path) -> Iterator[bool]:
    """Hold the state folder; yields whether the run before was killed. Raises `LocalError` when one runs."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        held = lock.acquire(state / "lock")
    except lock.HeldError as exc:
        raise LocalError(
            f"The platform is already running on {state} (process {exc}); stop it, or start another one"
            " beside it: LOCAL_DIR=<folder> API_PORT=<port> ADMIN_PORT=<port> make run"
        ) from exc
    try:
        was_killed = lock.note(held) != ""
        lock.set_note(held, str(os.getpid()))
        try:
            yield was_killed
        finally:
            lock.set_note(held, "")
    finally:
        os.close(held)
