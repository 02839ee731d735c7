"""Django's migrations and SQLAlchemy's mirror define the same tables."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from ratelimiter.database import sqlalchemy_url
from ratelimiter.models import Base
from tests.servers import execute, manage

TABLES = sorted(Base.metadata.tables)

CONSTRAINTS = text(
    """
    SELECT conrelid::regclass::text, CASE contype WHEN 'f' THEN '' ELSE conname END, pg_get_constraintdef(oid)
    FROM pg_constraint
    -- Triggers are not mirrored.
    WHERE conrelid::regclass::text = ANY(:tables) AND contype NOT IN ('n', 't')
    """
)


@pytest.fixture
def mirrored(postgres, database):
    """An empty database in which SQLAlchemy has made its mirror."""
    name = f"mirror_{database.name}"
    execute(postgres.admin_url, f"CREATE DATABASE {name}")
    engine = create_engine(sqlalchemy_url(database.admin_url.replace(database.name, name)))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
    execute(postgres.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def migrated(database):
    engine = create_engine(sqlalchemy_url(database.admin_url))
    yield engine
    engine.dispose()


def test_columns_types_defaults_and_indexes_are_equal(migrated):
    with migrated.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                # Leaves out Django's own tables and the partitions.
                "include_object": lambda _object, name, kind, *_: kind != "table" or name in TABLES,
            },
        )
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_are_equal(migrated, mirrored):
    def constraints(engine):
        with engine.connect() as connection:
            return {tuple(row) for row in connection.execute(CONSTRAINTS, {"tables": TABLES})}

    ours = constraints(mirrored)
    assert len([name for _, name, _ in ours if name.endswith("_check")]) >= 15
    assert constraints(migrated) == ours


def test_every_table_of_the_admin_app_is_mirrored(migrated):
    from django.apps import apps

    models = {model._meta.db_table for model in apps.get_app_config("api_manager").get_models()}
    assert models == set(TABLES)


def test_no_migration_is_missing(database):
    assert manage(database.owner_url, "makemigrations", "--check", "--dry-run") == "No changes detected\n"
