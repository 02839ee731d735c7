"""An erasure by the admin's command and the drain's copying meet in one lock and one table."""

from api_manager import erasure
from api_manager.models import ErasedKey
from ratelimiter.models import ErasedKey as Mirrored
from ratelimiter.request_log import sql


def test_both_name_the_same_lock_and_the_same_table():
    assert erasure.LOCK in sql.HOLD_ERASURES
    assert ErasedKey._meta.db_table == Mirrored.__tablename__
    assert f" {Mirrored.__tablename__} " in sql.FIND_ERASED
