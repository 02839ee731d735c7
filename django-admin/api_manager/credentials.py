"""The format of a key: what is made, what is checked before any I/O, what is stored.

A key reads ``<prefix>_<environment>_<random><checksum>``: 43 base62 characters carry 256 bits
of randomness, the last 6 are the CRC-32 of everything before them, so that a typo or garbage is
refused without a look-up and a leaked key can be recognised by secret scanners. The scheme is
GitHub's: https://github.blog/engineering/behind-githubs-new-authentication-token-formats/

Only the SHA-256 digest and a hint are ever stored. A plain digest is enough for 256 random bits;
a slow hash protects passwords, which are guessable.

The API service carries the same module, for it is shipped apart; a contract test compares them.
"""

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "rlk"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_PATTERN: Final = re.compile(
    rf"{PREFIX}_[a-z]{{1,10}}_[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}", re.ASCII
)
_IN_TEXT: Final = re.compile(rf"{PREFIX}_[a-z]{{1,10}}_[0-9A-Za-z]{{12}}", re.ASCII)
"""More of a key than a hint shows."""


def generate(environment: str = "live") -> str:
    """A new random key for an environment, a word such as ``live`` or ``test``."""
    random = _base62(secrets.randbits(256), _RANDOM_LENGTH)
    body = f"{PREFIX}_{environment}_{random}"
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the text has the shape of a key and its checksum is right."""
    if _PATTERN.fullmatch(key) is None:
        return False
    return _checksum(key[:-_CHECKSUM_LENGTH]) == key[-_CHECKSUM_LENGTH:]


def stands_in(text: str) -> bool:
    """Whether a key, or more of one than a hint, stands in a text that would be stored or logged."""
    return PREFIX in text and _IN_TEXT.search(text) is not None


def digest(key: str) -> bytes:
    """The SHA-256 of a key: 32 bytes, the only form in which it is stored or looked up."""
    return hashlib.sha256(key.encode("ascii")).digest()


def hint(key: str) -> str:
    """What of a key may be shown, such as ``rlk_live_3fA9…x9Zq``."""
    prefix, environment, random = key.split("_")
    return f"{prefix}_{environment}_{random[:4]}…{random[-4:]}"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))
