"""PostgreSQL as `make run` has it, and a migrated database with keys in it."""

import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extras import execute_values

from bench.errors import BenchError
from local.child import basic_environment
from local.postgres import Postgres
from local.roles import Role, provision
from ratelimiter.keys import credentials

PROJECT: Final = Path(__file__).resolve().parent.parent
KEYS: Final = 1000
ABUSERS: Final = 10
_TEMPLATE: Final = "template_bench"
_START_SECONDS: Final = 30.0
_STANDSTILL_SECONDS: Final = 20.0
_QUIET_SECONDS: Final = 0.5
"""The backlog must stay empty for so long: denials may be recorded a moment late."""

# A bucket that the load never empties, nor finds full: one token comes back a second.
_ADMITTED: Final = (3600, 1_000_000)
# One request an hour: denied once it is spent.
_LIMITED: Final = (1, 1)


@dataclass(frozen=True)
class Key:
    """An issued key: its number, and its secret."""

    id: int
    secret: str


class Stack:
    """PostgreSQL with a migrated database full of keys, from which each instance gets a copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.admitted: list[Key] = []
        """Keys whose requests are all admitted."""
        self.limited: list[Key] = []
        """Keys whose requests are all denied, but for the first."""
        self.revocable: list[Key] = []
        """Keys to revoke."""
        self._postgres = Postgres(folder / "postgres", durable=True)
        self._owner = Role("ratelimiter_owner", secrets.token_urlsafe(16))
        self._api = Role("ratelimiter_api", secrets.token_urlsafe(16))

    def __enter__(self) -> Self:
        self._postgres.start()
        try:
            provision(self._postgres.admin_url, _TEMPLATE, self._owner, self._api)
            self._migrate()
            self._issue_keys()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._postgres.stop()
        self._postgres.remove()

    @property
    def postgres_pid(self) -> int:
        """The first of PostgreSQL's processes."""
        return self._postgres.process.pid

    def versions(self) -> dict[str, str]:
        """What the server calls itself."""
        return {"postgresql": str(self._execute("postgres", "SHOW server_version")[0][0]).split(" ")[0]}

    def make_database(self, name: str) -> str:
        """A copy of the database with the keys; returns its address for the API's role."""
        self._execute("postgres", f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER {self._owner.name}")
        return self._postgres.url(name, self._api)

    def execute(self, statement: str) -> None:
        """Change what the databases that are made from here on begin with."""
        self._execute(_TEMPLATE, statement)

    def _migrate(self) -> None:
        environment = basic_environment() | {
            "DATABASE_URL": self._postgres.url(_TEMPLATE, self._owner),
            "DJANGO_SECRET_KEY": "of-the-bench-only",
            "API_DATABASE_ROLE": self._api.name,
        }
        done = subprocess.run(  # our own arguments
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=PROJECT / "django-admin",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"manage.py migrate failed:\n{done.stderr[-2000:]}")

    def _issue_keys(self) -> None:
        connection = psycopg2.connect(self._url(_TEMPLATE))
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT id FROM tier WHERE name = 'enterprise'")
                tier = cursor.fetchall()[0][0]
                for policy, into in (
                    (_ADMITTED, self.admitted),
                    (_LIMITED, self.limited),
                    (_ADMITTED, self.revocable),
                ):
                    made = [credentials.generate() for _ in range(KEYS)]
                    rows = [
                        ("bench", credentials.hint(key), credentials.digest(key), tier, *policy)
                        for key in made
                    ]
                    ids = execute_values(
                        cursor,
                        "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"
                        " VALUES %s RETURNING id, digest",
                        rows,
                        page_size=KEYS,
                        fetch=True,
                    )
                    numbers = {bytes(digest): number for number, digest in ids}
                    into += [Key(numbers[credentials.digest(key)], key) for key in made]
        finally:
            connection.close()

    def _url(self, database: str) -> str:
        return urlsplit(self._postgres.admin_url)._replace(path=f"/{database}").geturl()

    def _execute(self, database: str, statement: str) -> list[tuple[object, ...]]:
        connection = psycopg2.connect(self._url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()
