"""An embedded PostgreSQL as `make run` leaves it, with a database for each test."""

import secrets
import shutil
import tempfile
from pathlib import Path

import pytest

from local import environment
from local.postgres import Postgres
from local.roles import provision
from local.stack import DATABASE
from tests.backup.platforms import API, OWNER, Platform
from tests.servers import execute, manage


@pytest.fixture(scope="session")
def state():
    """The state folder of a run, with a server on it and nothing else."""
    path = Path(tempfile.mkdtemp(prefix="ratelimiter-backup-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(state):
    with Postgres(state / "postgres", durable=False) as server:
        provision(server.admin_url, "migrated", OWNER, API)
        manage(server.url("migrated", OWNER), "migrate", "--verbosity=0")
        values = {"DATABASE_URL": server.url(DATABASE, OWNER), "DJANGO_SECRET_KEY": "key-of-the-tests-only"}
        environment.save(state / "env", values)
        yield server
    server.remove()


@pytest.fixture
def platform(server, state):
    name = f"platform_{secrets.token_hex(4)}"
    execute(server.admin_url, f"CREATE DATABASE {name} TEMPLATE migrated OWNER {OWNER.name}")
    platform = Platform(server, state, name)
    yield platform
    for each in platform.databases():
        if each.startswith(name):
            execute(server.admin_url, f"DROP DATABASE {each} WITH (FORCE)")
