"""Every collector of this service, with its unit and help.

Labels are bounded: tiers, outcomes, route templates; never a key or a client's text. Gauges are
not kept here: prometheus_client's multiprocess mode would sum or drop them, so ``api.health``
computes them at the scrape.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from functools import cache
from typing import Final

from prometheus_client import Counter, Histogram


class Durations(Histogram):
    """A histogram that takes many observations at once."""

    def observe_all(self, seconds: list[float]) -> None:
        """Observe each of these, at the cost of one for each bucket."""
        counts: dict[int, int] = {}
        for each in seconds:
            index = bisect_left(self._upper_bounds, each)
            counts[index] = counts.get(index, 0) + 1
        self._sum.inc(sum(seconds))
        for index, count in counts.items():
            self._buckets[index].inc(count)


DECISIONS: Final = Counter(
    "rate_limit_decisions_total",
    "Decisions by tier and outcome: allowed, limited, refused (a known key that may not be used).",
    ["tier", "outcome"],
)
HITS: Final = Counter(
    "rate_limit_hits_total",
    "Requests answered 429 because the key's bucket did not hold their cost.",
    ["api_key_tier"],
)
ERRORS: Final = Counter(
    "rate_limit_errors_total",
    "Requests to the data plane answered with an error (not 429), by the slug of their problem type.",
    ["problem"],
)
CACHED_DENIALS: Final = Counter(
    "rate_limit_cached_denials_total", "Denials answered from the worker's memory, without asking Redis."
)
FALLBACK_DECISIONS: Final = Counter(
    "rate_limit_fallback_decisions_total",
    "Decisions made without Redis, by the mode that the key's tier chose (local or open) and outcome.",
    ["mode", "outcome"],
)
SHADOW_DENIALS: Final = Counter(
    "rate_limit_shadow_denials_total",
    "Requests that a shadow limit would have denied, by the key's tier and the limit's name.",
    ["tier", "limit"],
)
REPLAYS: Final = Counter(
    "rate_limit_replays_total",
    "Requests answered as their idempotency key was before: nothing spent or recorded, and no decision.",
)
UNREMEMBERED: Final = Counter(
    "rate_limit_unremembered_total",
    "Requests with an idempotency key that were decided without Redis, and so not remembered.",
)
QUOTAS_UNASKED: Final = Counter(
    "rate_limit_quotas_unasked_total",
    "Decisions made without Redis for keys whose plan has a quota, which is not held then.",
)
QUOTA_LOOKUPS: Final = Counter(
    "rate_limit_quota_lookups_total",
    "Keys of whose quotas Redis knew nothing, so that PostgreSQL was asked what is spent: known or failed.",
    ["result"],
)
REDIS_FAILURES: Final = Counter(
    "rate_limit_redis_failures_total",
    "Calls and probes that Redis failed: timeout, connection, full, readonly, loading, disk, other.",
    ["reason"],
)
BREAKER_OPENINGS: Final = Counter(
    "rate_limit_breaker_openings_total", "Times a worker ceased to wait for Redis and decided without it."
)
DURATION: Final = Durations(
    "request_duration_seconds",
    "Time from a request's arrival to its answer, by route template.",
    ["endpoint"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
HTTP_REFUSALS: Final = Counter(
    "http_refusals_total",
    "Connections ended since they passed a limit of HTTP or sent none, by the slug of the problem.",
    ["problem"],
)
KEY_LOOKUPS: Final = Counter(
    "key_directory_lookups_total",
    "Keys looked up: loaded from PostgreSQL or unknown there; without it from a copy, or a malformed_copy.",
    ["found"],
)
KEY_NEWS: Final = Counter(
    "key_news_total",
    "News of edited keys and tiers, and events of the connection that brings them.",
    ["event"],
)
TOKEN_REFUSALS: Final = Counter(
    "management_token_refusals_total",
    "Calls refused for want of a good management token: missing, malformed, unknown, revoked, expired,"
    " without the scope, or throttled after too many failures.",
    ["reason"],
)
TOKENS_FROM_MEMORY: Final = Counter(
    "management_tokens_from_memory_total",
    "Scrapes let in by a token that was good when PostgreSQL last answered.",
)
FAILURES_COUNTED_ALONE: Final = Counter(
    "management_failures_counted_alone_total",
    "Questions to the throttle of failed attempts that Redis did not answer, so that the worker did.",
)
LOG_WRITTEN: Final = Counter(
    "request_log_written_total", "Records copied from the stream into the request log."
)
LOG_DROPPED: Final = Counter(
    "request_log_dropped_total",
    "Records that never became a row: dropped at the stream's bound, lost by Redis, or not taken by it.",
)
LOG_DOUBLES: Final = Counter(
    "request_log_doubles_total", "Records left out since their decision was recorded already."
)
LOG_MALFORMED: Final = Counter(
    "request_log_malformed_total", "Records or entries of the stream that could not be read."
)
STREAM_OVERFLOWS: Final = Counter(
    "request_log_stream_overflows_total",
    "Times a stream was at its bound and its oldest entries were dropped; the drain counts the records.",
)
DRAIN_FAILURES: Final = Counter(
    "request_log_drain_failures_total",
    "Times the drain had to give up and start again, by what failed.",
    ["dependency"],
)

# A series that began with its first failure would hide it from rate(): these begin at 0.
for _problem in ("limiter-unavailable", "keys-unavailable", "internal-error"):
    ERRORS.labels(_problem)
for _problem in (
    "answer-unread",
    "bad-request",
    "body-too-large",
    "head-too-large",
    "head-too-slow",
    "too-many-connections",
):
    HTTP_REFUSALS.labels(_problem)
for _mode in ("local", "open"):
    for _outcome in ("allowed", "limited"):
        FALLBACK_DECISIONS.labels(_mode, _outcome)
for _result in ("known", "failed"):
    QUOTA_LOOKUPS.labels(_result)
for _reason in ("timeout", "connection", "full", "readonly", "loading", "disk", "other"):
    REDIS_FAILURES.labels(_reason)
for _found in ("loaded", "unknown", "copy"):
    KEY_LOOKUPS.labels(_found)
for _dependency in ("postgres", "redis", "cursor", "partitions", "minutes", "process"):
    DRAIN_FAILURES.labels(_dependency)

for _reason in ("missing", "malformed", "unknown", "revoked", "expired", "scope", "throttled"):
    TOKEN_REFUSALS.labels(_reason)

HAND_ON_SECONDS: Final = 0.002


class Tally:
    """Counts the data plane's requests, and hands them to the collectors within ``HAND_ON_SECONDS``.

    Where workers share their metrics, each increment writes to a file under a lock: together they
    cost as much as the rest of the handler. Requests that are answered together share them.
    """

    def __init__(self) -> None:
        self._decisions: dict[tuple[str, str], int] = defaultdict(int)
        self._durations: dict[str, list[float]] = defaultdict(list)
        self._errors: dict[str, int] = defaultdict(int)
        self._cached_denials = 0
        self._shadow_denials: dict[tuple[str, str], int] = defaultdict(int)

    def decision(self, tier: str, outcome: str) -> None:
        """Count a decision; to be followed by ``duration``."""
        self._decisions[tier, outcome] += 1

    def cached_denial(self, tier: str) -> None:
        """Count a denial that Redis was not asked for; to be followed by ``duration``."""
        self._decisions[tier, "limited"] += 1
        self._cached_denials += 1

    def shadow_denial(self, tier: str, limit: str) -> None:
        """Count what a shadow limit would have denied; to be followed by ``duration``."""
        self._shadow_denials[tier, limit] += 1

    def error(self, slug: str) -> None:
        """Count an answer that is no decision; to be followed by ``duration``."""
        self._errors[slug] += 1

    def duration(self, endpoint: str, seconds: float) -> None:
        """Observe a request's duration."""
        if not self._durations:
            asyncio.get_running_loop().call_later(HAND_ON_SECONDS, self._hand_on)
        self._durations[endpoint].append(seconds)

    def _hand_on(self) -> None:
        decisions, self._decisions = self._decisions, defaultdict(int)
        durations, self._durations = self._durations, defaultdict(list)
        errors, self._errors = self._errors, defaultdict(int)
        cached_denials, self._cached_denials = self._cached_denials, 0
        for (tier, outcome), count in decisions.items():
            _decisions(tier, outcome).inc(count)
            if outcome == "limited":
                _hits(tier).inc(count)
        for slug, count in errors.items():
            ERRORS.labels(slug).inc(count)
        for endpoint, seconds in durations.items():
            _duration(endpoint).observe_all(seconds)
        if self._shadow_denials:
            shadow_denials, self._shadow_denials = self._shadow_denials, defaultdict(int)
            for labels, count in shadow_denials.items():
                SHADOW_DENIALS.labels(*labels).inc(count)
        if cached_denials:
            CACHED_DENIALS.inc(cached_denials)


# To look up a collector's child costs as much as to increment it.
@cache
def _decisions(tier: str, outcome: str) -> Counter:
    return DECISIONS.labels(tier, outcome)


@cache
def _hits(tier: str) -> Counter:
    return HITS.labels(tier)


@cache
def _duration(endpoint: str) -> Durations:
    return DURATION.labels(endpoint)
