"""Flat is flat, and a leak is not."""

import os

import pytest

from .memory import Sampler, trend


def samples(mib_at, seconds=400):
    return [(float(when), mib_at(when)) for when in range(0, seconds, 2)]


def judged(mib_at):
    return trend("a role", samples(mib_at), 0.0, 400.0)


@pytest.mark.parametrize(
    ("mib_at", "is_flat"),
    [
        (lambda _: 80.0, True),
        (lambda when: 80.0 + when % 7, True),  # it goes up and down
        (lambda when: min(80.0, when), True),  # it takes what it needs, at first
        (lambda when: 80.0 + when / 10, False),
        (lambda when: 3.0 + when / 400, True),  # a tenth of a small one, but few pages
        (lambda when: 3.0 + when / 50, False),
        (lambda when: 95.0 if when > 300 else 80.0, False),
    ],
)
def test_what_is_flat(mib_at, is_flat):
    assert judged(mib_at).is_flat is is_flat


def test_the_quarters_that_are_compared():
    found = judged(lambda when: float(when // 100))
    assert (found.before_mib, found.after_mib) == (1.0, 3.0)


def test_a_sample_is_of_the_largest_process_and_none_is_of_one_that_has_gone():
    sampler = Sampler({"us": lambda: [os.getpid()], "nobody": list, "gone": lambda: [2**22 + 1]})
    sampler.sample()
    assert set(sampler.samples) == {"us"}
    [(_, mib)] = sampler.samples["us"]
    assert mib > 1
