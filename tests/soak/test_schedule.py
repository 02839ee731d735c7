"""Faults come at random, the same for a seed, and each of them before any comes again."""

from itertools import islice
from random import Random

from tests.faults.causes import FAULTS

from .schedule import LEFT_OUT, LONGEST_SECONDS, SHORTEST_SECONDS, faults, turns


def drawn(seed, count):
    return list(islice(turns(faults(), Random(seed)), count))  # noqa: S311  # to be repeated


def test_a_seed_repeats_a_run():
    assert drawn(1, 30) == drawn(1, 30)
    assert drawn(1, 30) != drawn(2, 30)


def test_all_come_before_one_comes_again():
    every = {fault.name for fault in faults()}
    both = drawn(1, 2 * len(every))
    for half in (both[: len(every)], both[len(every) :]):
        assert {turn.fault.name for turn in half} == every


def test_lengths_and_rests_are_short():
    lengths = [length for turn in drawn(1, 50) for length in (turn.seconds, turn.rest_seconds)]
    assert SHORTEST_SECONDS <= min(lengths) < max(lengths) <= LONGEST_SECONDS


def test_what_needs_root_or_cannot_be_told_to_the_row_is_left_out():
    names = {fault.name for fault in FAULTS}
    assert names >= set(LEFT_OUT)
    chosen = faults()
    assert not any(fault.as_root or fault.name in LEFT_OUT for fault in chosen)
    assert {fault.name for fault in faults(only="Redis")} == {
        fault.name for fault in chosen if "Redis" in fault.name
    }
