"""A key that was admitted one token too many is found, whatever a fault allows."""

import pytest

from tests.faults.load import Answer, Request

from .bounds import Bucket, Window, admissions, outages

SLOW = Bucket("slow", ["a"], burst=4, per_second=0)


def spent(times, *, key="a", mode=None, at=0.0, cost=1, status=200):
    return [Answer(at, 0.0, status, mode, Request(key, "/x", cost)) for _ in range(times)]


def only(bucket, answers, *, emptied=(), forgotten=()):
    [found] = admissions([bucket], answers, emptied=emptied, forgotten=forgotten)
    return found


@pytest.mark.parametrize(("times", "is_within"), [(4, True), (5, False)])
def test_the_burst_is_the_bound(times, is_within):
    assert only(SLOW, spent(times) + spent(9, status=429)).is_within is is_within


def test_time_brings_tokens_back():
    bucket = Bucket("quick", ["a"], burst=1, per_second=2)
    assert only(bucket, spent(1) + spent(6, at=3.0)).bound == 7
    assert not only(bucket, spent(1) + spent(7, at=3.0)).is_within


def test_tokens_count_and_not_requests():
    assert not only(SLOW, spent(1, cost=5)).is_within


def test_keys_of_a_rotation_share_the_bound():
    chain = Bucket("chain", ["a", "b"], burst=4, per_second=0)
    assert not only(chain, spent(3) + spent(2, key="b")).is_within


def test_a_redis_that_comes_back_empty_is_worth_a_burst_to_who_had_spent():
    answers = spent(4) + spent(4, at=9.0)
    assert only(SLOW, answers, emptied=[5.0]).is_within
    assert not only(SLOW, answers, emptied=[10.0]).is_within


def test_what_a_killed_redis_may_forget_may_be_spent_again():
    answers = spent(4) + spent(2, at=9.0)
    assert only(SLOW, answers, forgotten=[Window(-1.0, 1.0)]).is_within
    assert not only(SLOW, answers, forgotten=[Window(1.0, 2.0)]).is_within


@pytest.mark.parametrize(("times", "is_within"), [(4, True), (5, False)])
def test_an_outage_is_worth_each_workers_share(times, is_within):
    found = only(SLOW, spent(4) + spent(times, mode="local", at=5.0))
    assert (found.admitted, found.alone, found.is_within) == (4, times, is_within)


def test_one_that_costs_more_than_a_share_takes_the_share():
    assert only(SLOW, spent(2, mode="local", cost=4)).alone == 4


def test_outages_are_told_apart_by_the_time_between_them():
    answers = [one for at in (1.0, 1.5, 4.0) for one in spent(1, mode="local", at=at)] + spent(1, at=2.0)
    assert outages(answers) == [Window(1.0, 1.5), Window(4.0, 4.0)]


def test_what_edits_added_is_granted():
    edited = Bucket("edited", ["a"], burst=4, per_second=0, added=2)
    assert only(edited, spent(6)).is_within
    assert not only(edited, spent(7)).is_within
