"""What each further limit of a tier costs a request: ``make bench-plans``; needs wrk.

One service serves the keys of four tiers, with none to three further limits, in turn, round after round; the
medians of a request's CPU are compared: the worker's, Redis's and the drain's together.
"""

from statistics import median

import pytest

from bench.contestant import Contestant
from bench.instance import Instance
from bench.load import require_wrk
from bench.stack import Stack

ROUNDS = 6
SECONDS = 1
CONNECTIONS = 32
LIMITS = ("'minute', 1000000, 60, NULL", "'monthly', 1000000000, NULL, 'month'", "'second', 10000, 1, NULL")
"""Name, requests, window, period; none of them is ever used up."""
TIERS = range(len(LIMITS) + 1)
MOST = (1.15, 1.10, 1.10)
"""What each of them may multiply the cost by; bench/README.md tells why it is not 1.05."""

pytestmark = pytest.mark.timeout(600)


def make_tier(stack, count):
    """A tier with so many further limits; every fourth key becomes one of it."""
    name = f"further-{count}"
    stack.execute(f"INSERT INTO tier (name, requests_per_hour) VALUES ('{name}', 3600)")  # noqa: S608  # made here
    for limit in LIMITS[:count]:
        stack.execute(
            "INSERT INTO tier_limit (tier_id, name, requests, window_seconds, period)"  # noqa: S608  # made here
            f" SELECT id, {limit} FROM tier WHERE name = '{name}'"
        )
    stack.execute(
        f"UPDATE api_key SET tier_id = tier.id FROM tier WHERE tier.name = '{name}'"  # noqa: S608  # made here
        f" AND api_key.id % {len(TIERS)} = {count}"
    )


def test_what_a_further_limit_costs(tmp_path, capsys):
    require_wrk()
    with Stack(tmp_path) as stack:
        for count in TIERS:
            make_tier(stack, count)
        with Instance(stack, "plans") as instance:
            field = [
                Contestant(
                    f"further_{count}",
                    instance.url,
                    [key.secret for key in stack.admitted if key.id % len(TIERS) == count],
                    tmp_path / f"{count}.lua",
                    instance.cpu,
                    instance.settle,
                    instance.errors,
                )
                for count in TIERS
            ]
            for one in field:
                one.warm_up()
            rounds = [[one.measure(CONNECTIONS, SECONDS).cpu_us for one in field] for _ in range(ROUNDS)]
    used = {
        part: [median(getattr(each[count], part) for each in rounds) for count in TIERS]
        for part in ("worker", "redis", "drain")
    }
    costs = [sum(of[count] for of in used.values()) for count in TIERS]
    ratios = [costs[count + 1] / costs[count] for count in range(len(LIMITS))]
    with capsys.disabled():  # the figures are what it is run for
        for name, figures in {**used, "together": costs}.items():
            print(f"{name} µs: {', '.join(f'{figure:.1f}' for figure in figures)}")  # noqa: T201  # the same
    assert all(ratio <= most for ratio, most in zip(ratios, MOST, strict=True)), ratios
