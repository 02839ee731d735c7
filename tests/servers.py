"""A pytest plugin (``-p tests.servers``): real PostgreSQL and Redis for every test.

Each worker of pytest-xdist starts one PostgreSQL of its own, before Django reads its settings. A test
that asks for ``database`` gets a database of its own, copied from a migrated template; one that asks for
``redis_server`` gets a server of its own, which takes some 10 ms.

TEST_DATABASE_URL (a superuser's) and TEST_REDIS_URL name servers to use instead (`make service-test`). They
must be there for the tests alone: roles get passwords, and Redis is emptied before each test. Of each there
is one, so the tests run in one process (``-n0``). A test that itself names ``redis_server`` may stop it, and
so gets one of its own all the same.
"""

import inspect
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg2
import pytest
import redis
from hypothesis import settings

from local.postgres import Postgres
from local.redis import RedisServer
from local.roles import Role, provision

PROJECT = Path(__file__).resolve().parent.parent
OWNER = Role("ratelimiter_owner", "owner-of-tests")
API = Role("ratelimiter_api", "api-of-tests")
TEMPLATE = "template_ratelimiter"
ADMIN_API_TOKEN = "token-of-the-tests-only"

# A shared machine may stall at any moment; the time of one example proves nothing.
settings.register_profile("any-machine", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=1000)  # make fuzz
settings.load_profile("any-machine")


@dataclass(frozen=True)
class GivenPostgres:
    """A PostgreSQL that was there before the tests; the superuser's URL."""

    admin_url: str

    def url(self, database: str, role: Role) -> str:
        """Return the URL by which `role` reaches `database` on this server."""
        parts = urlsplit(self.admin_url)
        place = parts.netloc.rpartition("@")[2]
        return parts._replace(
            netloc=f"{quote(role.name)}:{quote(role.password, safe='')}@{place}", path=f"/{database}"
        ).geturl()


@dataclass(frozen=True)
class GivenRedis:
    """A Redis that was there before the tests."""

    url: str

    def empty(self) -> None:
        """Forget data, scripts, statistics, and what a test has configured."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.script_flush()
            client.config_resetstat()
            client.config_set("maxmemory", "256mb")


_postgres = pytest.StashKey[Postgres | GivenPostgres]()


@dataclass(frozen=True)
class Database:
    """A migrated database; addresses for both roles and for the superuser."""

    name: str
    owner_url: str
    api_url: str
    admin_url: str

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse and cut every connection to this database meanwhile."""
        postgres_url = urlsplit(self.admin_url)._replace(path="/postgres").geturl()
        execute(postgres_url, f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS false")
        try:
            execute(
                postgres_url,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'",  # noqa: S608  # a name made here
            )
            yield
        finally:
            execute(postgres_url, f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS true")

    def sql(self, query: str, *args: object) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, committed; returns the rows it brings."""
        return execute(self.admin_url, query, *args)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start PostgreSQL and name it to Django, which reads its settings right after."""
    os.environ["DJANGO_SECRET_KEY"] = "key-of-the-tests-only"
    os.environ["WEBHOOK_SECRET_KEY"] = "key-of-the-tests-only-and-of-nobody-else"
    os.environ["API_DATABASE_ROLE"] = API.name
    distributes = getattr(early_config.known_args_namespace, "numprocesses", None)
    given = [name for name in ("TEST_DATABASE_URL", "TEST_REDIS_URL") if os.environ.get(name)]
    if distributes and given:
        raise pytest.UsageError(f"{given[0]} names one server, which takes one process: add -n0")
    if distributes and "PYTEST_XDIST_WORKER" not in os.environ:
        # The workers run the tests; here Django only has to be importable.
        os.environ["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    else:
        postgres = _start_postgres()
        early_config.stash[_postgres] = postgres
        provision(postgres.admin_url, "ratelimiter", OWNER, API, createdb=True)
        os.environ["DATABASE_URL"] = postgres.url("ratelimiter", OWNER)
    return (yield)


def _start_postgres() -> Postgres | GivenPostgres:
    if admin_url := os.environ.get("TEST_DATABASE_URL"):
        execute(admin_url, f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")  # it may lack a migration
        return GivenPostgres(admin_url)
    return Postgres(Path(tempfile.mkdtemp(prefix="ratelimiter-tests-")), durable=False).start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop PostgreSQL and remove its folder."""
    postgres = config.stash.get(_postgres, None)
    if isinstance(postgres, Postgres):
        postgres.stop()
        postgres.remove()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes; the short ones fill the workers evenly at the end."""
    items.sort(key=lambda item: not item.path.is_relative_to(PROJECT / "tests"))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Postgres | GivenPostgres:
    """This worker's PostgreSQL."""
    return request.config.stash[_postgres]


@pytest.fixture(scope="session")
def template(postgres: Postgres | GivenPostgres) -> str:
    """A migrated database to copy from."""
    provision(postgres.admin_url, TEMPLATE, OWNER, API, createdb=True)
    manage(postgres.url(TEMPLATE, OWNER), "migrate", "--verbosity=0")
    return TEMPLATE


@pytest.fixture
def database(postgres: Postgres | GivenPostgres, template: str) -> Iterator[Database]:
    """A migrated database of the test's own."""
    name = f"test_{secrets.token_hex(8)}"
    execute(postgres.admin_url, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER.name}")
    admin_url = urlsplit(postgres.admin_url)._replace(path=f"/{name}").geturl()
    yield Database(name, postgres.url(name, OWNER), postgres.url(name, API), admin_url)
    execute(postgres.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer | GivenRedis]:
    """A Redis of the test's own, empty and without a file."""
    if (url := os.environ.get("TEST_REDIS_URL")) and not _names(request.function, "redis_server"):
        given = GivenRedis(url)
        given.empty()
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-redis-"))
    with RedisServer(folder, "password-of-tests", durable=False) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


def _names(test: Any, fixture: str) -> bool:
    return fixture in inspect.signature(test).parameters


def execute(url: str, statement: str, *args: object) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own, committed; returns the rows it brings."""
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, args or None)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def manage(database_url: str, *arguments: str) -> str:
    """Run ``manage.py`` against a database; returns what it printed."""
    environment = os.environ | {"DATABASE_URL": database_url}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT / "django-admin",
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def run_in_admin(database_url: str, code: str) -> None:
    """Run Python code as the admin service, on a database."""
    manage(database_url, "shell", "--no-imports", "--command", code)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI a skipped test is a failure: nothing may go unproved unseen."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("In CI nothing may be skipped.", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a run with skipped tests into a failed one, in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
