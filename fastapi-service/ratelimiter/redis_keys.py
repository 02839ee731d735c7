"""Every name this service uses in Redis, in one place.

A shard's bucket and stream share a hash tag, so that the script stays on one slot of a cluster.
"""

from typing import Final
from zlib import crc32

PROBE: Final = "rl:probe"
"""Written to see whether Redis takes writes; gone a second later."""


def shard_of(subject: int, shards: int) -> int:
    """The shard a bucket's subject lives on."""
    return crc32(b"%d" % subject) % shards if shards > 1 else 0


def bucket(shard: int, subject: int) -> str:
    """The token bucket of a subject."""
    return f"rl:{{{shard}}}:b:{subject}"


def stream(shard: int) -> str:
    """The stream of decisions on their way to the request log."""
    return f"rl:{{{shard}}}:log"


def stream_state(shard: int) -> str:
    """The hash beside the stream: ``epoch``, ``seq`` (records appended), ``drained`` (records copied)."""
    return f"rl:{{{shard}}}:log:state"
