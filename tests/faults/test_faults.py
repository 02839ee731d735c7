"""The faults for a second each. `make faults` plays them at full length."""

import pytest

from .causes import FAULTS
from .play import play
from .rig import Rig

pytestmark = pytest.mark.timeout(240)

SECONDS = 1.0


@pytest.fixture(scope="module")
def rig():
    # A busy machine is no fault: what is decided without Redis here is due to the faults.
    rig = Rig(DECISION_TIMEOUT_SECONDS="0.5")
    try:
        yield rig.start()
    finally:
        rig.stop()


def _as_a_case(fault):
    marks = [pytest.mark.root] if fault.as_root else []
    return pytest.param(fault, id=fault.name.replace(" ", "-"), marks=marks)


@pytest.mark.parametrize("fault", [_as_a_case(fault) for fault in FAULTS])
def test_every_promise_is_kept(rig, fault):
    if fault.needs:
        pytest.skip(fault.needs)
    outcome = play(fault, rig, per_second=50, seconds=SECONDS, before_seconds=1.0)
    assert outcome.broken == (), (outcome, rig.log()[-2000:])
