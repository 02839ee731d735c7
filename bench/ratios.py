"""Ratios of what was measured in the same round, and their medians."""

from collections.abc import Sequence
from math import ceil
from statistics import median

from bench.errors import BenchError


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours ÷ theirs, round by round. Raises `BenchError` when the rounds do not pair."""
    if len(ours) != len(theirs) or not ours:
        raise BenchError(f"There are {len(ours)} and {len(theirs)} rounds; they do not pair.")
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round: what drifts in a machine's speed cancels out in a round."""
    return median(ratios(ours, theirs))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least of the ascending values that `share` (0 to 1) of them do not exceed; of none: 0."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)] if ordered else 0.0
