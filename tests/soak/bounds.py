"""What each limited key may have been admitted at most, and what it was.

By Redis, at most::

    burst + rate x elapsed + what edits added + burst x (times Redis came back empty)
        + what it was admitted in the seconds that a killed Redis may forget

By workers alone, at most, summed over the outages::

    workers x (max(1, burst // workers) + rate x length of the outage)
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.load import Answer
from tests.faults.rig import WORKERS

ADMITTED: Final = 200
APART_SECONDS: Final = 1.0
"""Answers without Redis that are farther apart belong to two outages."""


@dataclass
class Bucket:
    """The keys that share a bucket, its limits, and the tokens that edits may have added."""

    name: str
    secrets: list[str] = field(repr=False)
    burst: int
    per_second: float
    added: int = 0

    @property
    def share(self) -> int:
        """The burst of one worker that decides alone."""
        return max(1, self.burst // WORKERS)


@dataclass(frozen=True)
class Admission:
    """The tokens that a bucket admitted, by Redis and by workers alone, and the most that each may be."""

    name: str
    admitted: int
    bound: float
    alone: int
    alone_bound: float

    @property
    def is_within(self) -> bool:
        """Whether neither was more."""
        return self.admitted <= self.bound and self.alone <= self.alone_bound


@dataclass(frozen=True)
class Window:
    """From when to when (``time.monotonic``)."""

    began: float
    ended: float

    def holds(self, answer: Answer) -> bool:
        """Whether it was answered in the window."""
        return self.began <= answer.due + answer.seconds <= self.ended


def outages(answers: Iterable[Answer]) -> list[Window]:
    """When workers decided without Redis, as their answers say."""
    alone = sorted((answer.due, answer.due + answer.seconds) for answer in answers if answer.mode)
    found: list[Window] = []
    for began, ended in alone:
        if found and began - found[-1].ended <= APART_SECONDS:
            found[-1] = Window(found[-1].began, max(found[-1].ended, ended))
        else:
            found.append(Window(began, ended))
    return found


def admissions(
    buckets: Iterable[Bucket],
    answers: Sequence[Answer],
    *,
    emptied: Sequence[float],
    forgotten: Sequence[Window],
) -> list[Admission]:
    """Each bucket's; ``emptied`` are the times at which Redis was, ``forgotten`` what it may have lost."""
    by_key: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_key[answer.key].append(answer)
    away = outages(answers)
    found = []
    for bucket in buckets:
        own = [answer for secret in bucket.secrets for answer in by_key[secret]]
        if own:
            found.append(_admission(bucket, own, away, emptied, forgotten))
    return found


def _admission(
    bucket: Bucket,
    own: Sequence[Answer],
    away: Sequence[Window],
    emptied: Sequence[float],
    forgotten: Sequence[Window],
) -> Admission:
    began, ended = min(one.due for one in own), max(one.due + one.seconds for one in own)
    admitted = [one for one in own if one.status == ADMITTED and one.request.is_spending]
    by_redis = [one for one in admitted if not one.mode]
    refills = sum(began <= when <= ended for when in emptied)
    lost = sum(one.request.cost for one in by_redis if any(window.holds(one) for window in forgotten))
    met = [window for window in away if window.began <= ended and began <= window.ended]
    return Admission(
        name=bucket.name,
        admitted=sum(one.request.cost for one in by_redis),
        bound=bucket.burst * (1 + refills) + bucket.per_second * (ended - began) + bucket.added + lost,
        # One that costs more than a worker's share takes the share.
        alone=sum(min(one.request.cost, bucket.share) for one in admitted if one.mode),
        alone_bound=sum(
            WORKERS * (bucket.share + bucket.per_second * (window.ended - window.began)) for window in met
        ),
    )
