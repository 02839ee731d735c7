"""The overview finds the drains that lead by the lock that they hold."""

from api_manager import pipeline
from ratelimiter.request_log import sql


def test_both_name_the_same_lock():
    assert f"pg_try_advisory_lock({pipeline.LOCK}, " in sql.TRY_LOCK
