"""PostgreSQL and Redis that the caller brings along, named by variables of the environment."""

import os
from dataclasses import dataclass, field
from typing import Self

import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.errors import LocalError

_CONNECT_SECONDS = 5
_SCHEMES = ("postgresql://", "postgres://")


@dataclass(frozen=True)
class External:
    """The addresses of servers that are not ours to start; None means that we start one."""

    database_url: str | None = field(repr=False)
    api_database_url: str | None = field(repr=False)
    redis_url: str | None = field(repr=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Read DATABASE_URL, API_DATABASE_URL and REDIS_URL; an empty one counts as not set."""
        return cls(
            *(os.environ.get(name) or None for name in ("DATABASE_URL", "API_DATABASE_URL", "REDIS_URL"))
        )

    def check(self) -> None:
        """Raise `LocalError`, naming the variable, when something is missing or cannot be reached."""
        if (self.database_url is None) != (self.api_database_url is None):
            given, missing = "DATABASE_URL", "API_DATABASE_URL"
            if self.database_url is None:
                given, missing = missing, given
            raise LocalError(f"{given} is set, so {missing} must be set too (or unset both).")
        if self.database_url is not None and self.api_database_url is not None:
            _check_database("DATABASE_URL", self.database_url)
            _check_database("API_DATABASE_URL", self.api_database_url)
        if self.redis_url is not None:
            _check_redis(self.redis_url)


def _check_database(variable: str, url: str) -> None:
    # Anything else libpq would take for "key=value" text, and repeat it with the password in its error.
    if not url.startswith(_SCHEMES):
        raise LocalError(f"{variable} must begin with postgresql://")
    try:
        psycopg2.connect(url, connect_timeout=_CONNECT_SECONDS).close()
    except psycopg2.Error as exc:
        raise LocalError(f"PostgreSQL at {variable} cannot be used: {one_line(exc)}") from exc


def _check_redis(url: str) -> None:
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=_CONNECT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        client.ping()
        client.close()
    except (redis.RedisError, ValueError) as exc:
        raise LocalError(f"Redis at REDIS_URL cannot be used: {one_line(exc)}") from exc


def one_line(error: Exception) -> str:
    """Return the error's text on a single line."""
    return " ".join(str(error).split())
