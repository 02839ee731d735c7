"""A few faults of a soak, with the same books. `make soak` plays all, for minutes, and looks at memory."""

import json
from math import inf

import pytest

from tests.faults.rig import Rig

from .play import Soak
from .schedule import Turn, faults

pytestmark = pytest.mark.timeout(240)

NAMES = ("Redis back, empty", "a worker killed", "PostgreSQL failed over")


def test_the_books_balance_after_a_few_faults(tmp_path):
    by_name = {fault.name: fault for fault in faults()}
    rig = Rig(apart=False, DECISION_TIMEOUT_SECONDS="0.5")
    try:
        soak = Soak(rig.start(), seed=1, per_second=50)
        turns = [Turn(by_name[name], seconds=1.0, rest_seconds=0.5) for name in NAMES]
        heard = []
        result = soak.play(turns, inf, judge_memory=False, say=lambda what, _: heard.append(what))
    finally:
        rig.stop()
    assert result.broken == [], result
    books = result.balance
    assert books.answered > 100
    assert books.rows == books.answered - sum(books.lost.values()) + books.recorded_without_answer
    assert result.faults == dict.fromkeys(NAMES, 1)
    assert result.management["201"] > 0
    assert {one.name for one in result.admissions} == {"tight", "flooded", "edited", "issued and rotated"}
    assert any(NAMES[0] in what for what in heard)
    assert json.loads(result.json())["balance"]["rows"] == books.rows
    assert f"| decisions answered | {books.answered} |" in result.markdown()
