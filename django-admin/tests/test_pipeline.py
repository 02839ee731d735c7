from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from api_manager.models import DrainCursor
from api_manager.pipeline import LOCK, Pipeline, State, pipeline

NOW = datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _database(db):
    """Everything here happens in the database, and is rolled back."""


@contextmanager
def leading(*shards: int):
    """A drain that leads these shards meanwhile: its locks."""
    with connection.cursor() as cursor:
        for shard in shards:
            cursor.execute(f"SELECT pg_advisory_lock({LOCK}, %s)", [shard])
        yield
        cursor.execute("SELECT pg_advisory_unlock_all()")


def copied(shard: int, seconds_ago: float, lag_seconds: float) -> None:
    """The cursor of a shard that was last moved then, up to a record that was so old."""
    moved = NOW - timedelta(seconds=seconds_ago)
    made = moved - timedelta(seconds=lag_seconds)
    last_id = f"{round(made.timestamp() * 1000)}-3"
    DrainCursor.objects.create(shard=shard, epoch="one", last_id=last_id, position=7, updated_at=moved)


def test_without_a_drain_ever_it_is_stopped():
    assert pipeline(NOW) == Pipeline(State.STOPPED, [], timedelta(), None, None)


def test_a_drain_that_waits_for_the_first_record_is_healthy():
    DrainCursor.objects.create(shard=0)
    with leading(0):
        assert pipeline(NOW) == Pipeline(State.HEALTHY, [], timedelta(), None, None)
    assert pipeline(NOW).state is State.STOPPED


@pytest.mark.parametrize(
    ("leads", "seconds_ago", "lag_seconds", "state", "lag_text"),
    [
        (True, 0, 0.4, State.HEALTHY, "0 s"),
        (True, 3600, 0.4, State.HEALTHY, "0 s"),  # nothing has come for an hour
        (True, 5, 12, State.BEHIND, "12 s"),
        (True, 5, 75, State.BEHIND, "1 min 15 s"),
        (True, 5, 7500, State.BEHIND, "2 h 5 min"),
        (True, 3600, 7500, State.HEALTHY, "0 s"),  # it has caught up since
        (False, 5, 0.4, State.HEALTHY, "0 s"),  # one takes over from another
        (False, 5, 12, State.BEHIND, "12 s"),
        (False, 20, 0.4, State.STOPPED, "0 s"),
        (True, 1, -2, State.HEALTHY, "0 s"),  # two clocks
    ],
)
def test_its_state_is_that_of_the_lock_and_of_what_was_copied_last(
    leads, seconds_ago, lag_seconds, state, lag_text
):
    copied(0, seconds_ago, lag_seconds)
    with leading(*[0] if leads else []):
        found = pipeline(NOW)
    assert (found.state, found.lag_text) == (state, lag_text)
    assert found.copied_at == NOW - timedelta(seconds=seconds_ago)
    assert found.newest_record == found.copied_at - timedelta(seconds=lag_seconds)


def test_every_shard_counts():
    copied(0, 1, 0)
    copied(1, 100, 0)
    copied(2, 100, 0)
    with leading(2):
        assert pipeline(NOW).undrained == [1]
        assert pipeline(NOW).state is State.STOPPED
    with leading(0, 1, 2):
        assert pipeline(NOW).state is State.HEALTHY


def test_a_lock_of_another_name_is_no_drains():
    copied(0, 100, 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('another'), 0)")
        cursor.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
    assert pipeline(NOW).state is State.STOPPED
