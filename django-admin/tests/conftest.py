"""An operator at the admin site, keys, and databases where a test may really commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg2
import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from psycopg2 import sql

from api_manager import keys, tokens
from api_manager.audit import Actor
from api_manager.models import APIKey, AuditEvent, ManagementToken, Tier

IssueKey = Callable[..., keys.Issued]
IssueToken = Callable[..., tokens.Issued]


@pytest.fixture
def operator(db) -> User:
    return User.objects.create_superuser("alice", "alice@example.com", "not-a-common-one-9")


@pytest.fixture
def site(operator: User) -> Client:
    client = Client()
    client.force_login(operator)
    AuditEvent.objects.all().delete()  # that of the login, which no test of what is done then is about
    return client


@pytest.fixture
def issue(db, issue_key: IssueKey) -> IssueKey:
    """Issue a key in the test's own transaction."""
    return issue_key


@pytest.fixture
def issue_key() -> IssueKey:
    """Issue a key in whichever database Django's connection leads to."""

    def issue_key(name: str = "orders", tier: str = "free", **fields) -> keys.Issued:
        key = APIKey(name=name, tier=Tier.objects.get(name=tier), **fields)
        return keys.issue(key, Actor("test:fixture"))

    return issue_key


@pytest.fixture
def issue_token(db) -> IssueToken:
    """Issue a management token in the test's own transaction."""

    def issue_token(name: str = "ci", scopes=("keys:read",), **fields) -> tokens.Issued:
        token = ManagementToken(name=name, scopes=list(scopes), **fields)
        return tokens.issue(token, Actor("test:fixture"))

    return issue_token


@pytest.fixture(scope="session")
def committed_database(django_db_setup, django_db_blocker) -> Iterator[str]:
    """The name of a migrated database beside the test database, which tests may commit to."""
    with scratch_database("committed") as name:
        with django_db_blocker.unblock(), connected_to(name):
            call_command("migrate", verbosity=0)
        yield name


@pytest.fixture
def committed(committed_database: str, django_db_blocker) -> Iterator[str]:
    """Django's connection leads to the database where commits are real; what is made there stays."""
    with django_db_blocker.unblock(), connected_to(committed_database):
        yield committed_database


@pytest.fixture
def empty_database(django_db_setup, django_db_blocker) -> Iterator[str]:
    """Django's connection leads to a database with nothing in it."""
    with scratch_database("empty") as name, django_db_blocker.unblock(), connected_to(name):
        yield name


@contextmanager
def scratch_database(label: str) -> Iterator[str]:
    name = f"{connection.settings_dict['NAME']}_{label}"
    # Without FORCE, which would need the right to end an autovacuum worker that happens to be there; a
    # plain DROP DATABASE has the server end that one.
    drop = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    server = psycopg2.connect(**connection.get_connection_params() | {"dbname": "postgres"})
    server.autocommit = True
    try:
        with server.cursor() as cursor:
            cursor.execute(drop)
            cursor.execute(create)
            yield name
            cursor.execute(drop)
    finally:
        server.close()


@contextmanager
def connected_to(database: str) -> Iterator[None]:
    original = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = database
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = original
