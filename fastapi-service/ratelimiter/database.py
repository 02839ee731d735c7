"""How this service reaches PostgreSQL."""

from typing import Any, Final

import psycopg2
from psycopg2 import STRING
from psycopg2.extensions import connection as Connection  # noqa: N812  # the class has a lower-case name
from psycopg2.extensions import new_array_type, register_type
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

AWAY: Final = (OperationalError, InterfaceError, InternalError, PoolTimeoutError)
"""What SQLAlchemy raises when PostgreSQL is away; ``InternalError``: a standby, which takes no writes."""

_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 3,
    # A half-open connection is given up after this many milliseconds or failed probes.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "client_encoding": "UTF8",
    # The server, too, must find out soon that we are gone: it holds the drain's lock until then.
    "options": "-c timezone=UTC -c statement_timeout=60s -c lock_timeout=10s"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
}
"""libpq's parameters of every connection."""

_CIDR_ARRAY_OID: Final = 651
_SCHEMES: Final = ("postgres://", "postgresql://", "postgresql+psycopg2://")

# psycopg2 reads no array of networks by itself: it would give the text that PostgreSQL sends.
register_type(new_array_type((_CIDR_ARRAY_OID,), "CIDR[]", STRING))


def libpq_url(url: str) -> str:
    """The URL as libpq reads it.

    Raises:
        ValueError: it is no address of PostgreSQL.

    """
    return "postgresql://" + _without_scheme(url)


def connect(url: str, application_name: str) -> Connection:
    """A connection of its own, for what listens or holds a lock as long as it lives."""
    connection: Connection = psycopg2.connect(libpq_url(url), application_name=application_name, **_OPTIONS)
    return connection


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy reads it; it takes plain ``postgresql://`` to mean psycopg 3."""
    return "postgresql+psycopg2://" + _without_scheme(url)


def make_engine(url: str, *, pool_size: int) -> Engine:
    """An engine whose connections are checked before use, so that a failover costs no request."""
    return create_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=2,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text may reach a log
        connect_args={**_OPTIONS, "application_name": "ratelimiter-api"},
    )


def _without_scheme(url: str) -> str:
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return url.removeprefix(scheme)
    raise ValueError("expected an address that starts with postgresql://")
