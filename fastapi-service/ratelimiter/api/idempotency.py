"""The ``Idempotency-Key`` header (draft-ietf-httpapi-idempotency-key-header)."""

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from ratelimiter.errors import InvalidInput
from ratelimiter.limiter.token_bucket import Once

IDEMPOTENCY_KEY: Final = b"idempotency-key"
"""The header's name."""

# A string of Structured Fields (RFC 9651, 3.3.3), as the draft has it, or bare, as most clients send it.
_STRING: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\]){1,510})"')
_BARE: Final = re.compile(rb"[!#-~]{1,255}")
_MAX_LENGTH: Final = 255


def once_of(lines: Iterable[tuple[bytes, bytes]], cost: int, endpoint: str) -> Once:
    """What a request with an idempotency key is to be remembered by; ``lines`` are all of its headers.

    Only digests leave here: the key is the client's text, and would become a name in Redis.

    Raises:
        InvalidInput: the header holds no key, or was sent more than once.

    """
    sent, *more = [value for name, value in lines if name == IDEMPOTENCY_KEY]
    if more:
        raise InvalidInput.at("Idempotency-Key", "must be sent once")
    name = blake2b(_key(sent.strip(b" \t")), digest_size=8).hexdigest()
    asked = blake2b(b"%d %b" % (cost, endpoint.encode()), digest_size=8).digest()
    return Once(name, int.from_bytes(asked) >> 11)  # what is left is below 2^53


def _key(sent: bytes) -> bytes:
    string = _STRING.fullmatch(sent)
    key = re.sub(rb"\\(.)", rb"\1", string[1]) if string else sent
    if len(key) <= _MAX_LENGTH and (string or _BARE.fullmatch(key)):
        return key
    raise InvalidInput.at(
        "Idempotency-Key", f"must be 1 to {_MAX_LENGTH} visible ASCII characters, or so many in quotes"
    )
