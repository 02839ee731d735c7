"""Every name this service uses in Redis, in one place.

A shard's bucket and stream share a hash tag, so that the script stays on one slot of a cluster.
"""

from typing import Final
from zlib import crc32

PROBE: Final = "rl:probe"
"""Written to see whether Redis takes writes; gone a second later."""

KEYS_KNOWN_UNTIL: Final = "rl:keys:known-until"
"""Up to when all edits of keys have been heard of, by PostgreSQL's time."""


def key_copy(digest: bytes) -> str:
    """The copy of a key's record."""
    return f"rl:key:{digest.hex()}"


def key_digest(key_id: int) -> str:
    """The digest of a key whose record has a copy."""
    return f"rl:key-digest:{key_id}"


def failures(client: int) -> str:
    """The bucket of a client's failed attempts to authenticate."""
    return f"rl:failures:{client}"


def shard_of(subject: int, shards: int) -> int:
    """The shard a bucket's subject lives on."""
    return crc32(b"%d" % subject) % shards if shards > 1 else 0


def bucket(shard: int, subject: int) -> str:
    """The token bucket of a subject."""
    return f"rl:{{{shard}}}:b:{subject}"


def once(shard: int, subject: int, key: str) -> str:
    """The first answer to a subject's idempotency key."""
    return f"rl:{{{shard}}}:i:{subject}:{key}"


def stream(shard: int) -> str:
    """The stream of decisions on their way to the request log."""
    return f"rl:{{{shard}}}:log"


def stream_state(shard: int) -> str:
    """The hash beside the stream: ``epoch``, ``seq`` (records appended), ``drained`` (records copied)."""
    return f"rl:{{{shard}}}:log:state"
