"""Folders and servers for the tests of the embedded stack: all of them real processes."""

import shutil
import tempfile
from pathlib import Path

import pytest

from local.postgres import Postgres


@pytest.fixture
def folder():
    # Not below pytest's tmp_path: as root, PostgreSQL runs as a user who cannot enter that one.
    path = Path(tempfile.mkdtemp(prefix="ratelimiter-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres():
    path = Path(tempfile.mkdtemp(prefix="ratelimiter-"))
    with Postgres(path, durable=False) as server:
        yield server
    server.remove()
