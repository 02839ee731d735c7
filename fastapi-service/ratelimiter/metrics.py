"""Every collector of this service, with its unit and help.

Labels are bounded: tiers, outcomes, route templates; never a key or a client's text. Gauges are
not kept here: prometheus_client's multiprocess mode would sum or drop them, so ``api.health``
computes them at the scrape.
"""

from typing import Final

from prometheus_client import Counter, Histogram

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
DURATION: Final = Histogram(
    "request_duration_seconds",
    "Time from a request's arrival to its answer, by route template.",
    ["endpoint"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
KEY_LOOKUPS: Final = Counter(
    "key_directory_lookups_total",
    "Keys looked up in PostgreSQL: loaded, or unknown there.",
    ["found"],
)
KEY_NEWS: Final = Counter(
    "key_news_total",
    "News of edited keys and tiers, and events of the connection that brings them.",
    ["event"],
)
LOG_WRITTEN: Final = Counter(
    "request_log_written_total", "Records copied from the stream into the request log."
)
LOG_DROPPED: Final = Counter(
    "request_log_dropped_total",
    "Records that left the stream before they were copied: dropped at its bound, or lost by Redis.",
)
LOG_MALFORMED: Final = Counter(
    "request_log_malformed_total", "Records or entries of the stream that could not be read."
)
DRAIN_FAILURES: Final = Counter(
    "request_log_drain_failures_total",
    "Times the drain had to give up and start again, by what failed.",
    ["dependency"],
)
