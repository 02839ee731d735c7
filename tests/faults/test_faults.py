"""The faults for a few seconds each. `make faults` plays them at full length."""

import pytest

from .causes import FAULTS
from .play import play
from .rig import Rig

SECONDS = 2.0
LOSES_ROWS = {"Redis back, empty"}
"""What was in Redis and not yet in PostgreSQL is gone with it."""


@pytest.fixture(scope="module")
def rig():
    # A busy machine is no fault: what is decided without Redis here is due to the faults.
    rig = Rig(DECISION_TIMEOUT_SECONDS="0.5")
    try:
        yield rig.start()
    finally:
        rig.stop()


@pytest.fixture(scope="module")
def keys(rig):
    return rig.issue(10, 36_000_000, 100_000) + rig.issue(2, 3600, 5)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_no_decision_fails_and_no_record_is_lost_or_doubled(rig, keys, fault):
    outcome = play(fault, rig, keys, per_second=50, seconds=SECONDS)
    # A worker that is killed takes with it what it was about to answer.
    assert outcome.failed <= (2 if fault.name == "a worker killed" else 0), rig.log()[-2000:]
    assert outcome.doubled == 0
    assert outcome.lost == 0 or fault.name in LOSES_ROWS
    assert (outcome.local > 0) is fault.name.startswith("Redis")
