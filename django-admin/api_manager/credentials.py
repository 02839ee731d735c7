"""The format of a credential: what is made, what is checked before any I/O, what is stored.

A credential reads ``<prefix>_<environment>_<random><checksum>``. The prefix tells an API key from a token
of the management API: neither passes for the other, and a leaked one is known for what it is. 43 base62
characters carry 256 bits of randomness, the last 6 are the CRC-32 of everything before them, so that a typo
or garbage is refused without a look-up and a leak can be recognised by secret scanners. The scheme is
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

KEY_PREFIX: Final = "rlk"
MANAGEMENT_PREFIX: Final = "rlm"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_PATTERNS: Final = {
    prefix: re.compile(
        rf"{prefix}_[a-z]{{1,10}}_[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}", re.ASCII
    )
    for prefix in (KEY_PREFIX, MANAGEMENT_PREFIX)
}
_IN_TEXT: Final = re.compile(
    rf"(?:{KEY_PREFIX}|{MANAGEMENT_PREFIX})_[a-z]{{1,10}}_[0-9A-Za-z]{{12}}", re.ASCII
)
"""More of a credential than a hint shows."""
_HINT: Final = re.compile(rf"(?:{KEY_PREFIX}|{MANAGEMENT_PREFIX})_([a-z]{{1,10}})_", re.ASCII)


def generate(environment: str = "live", prefix: str = KEY_PREFIX) -> str:
    """A new random credential for an environment, a word such as ``live`` or ``test``."""
    random = _base62(secrets.randbits(256), _RANDOM_LENGTH)
    body = f"{prefix}_{environment}_{random}"
    return body + _checksum(body)


def is_well_formed(credential: str, prefix: str = KEY_PREFIX) -> bool:
    """Whether the text has the shape of a credential of that prefix and its checksum is right."""
    if _PATTERNS[prefix].fullmatch(credential) is None:
        return False
    return _checksum(credential[:-_CHECKSUM_LENGTH]) == credential[-_CHECKSUM_LENGTH:]


def stands_in(text: str) -> bool:
    """Whether a credential, or more of one than a hint, stands in a text that would be stored or logged."""
    return _IN_TEXT.search(text) is not None


def digest(credential: str) -> bytes:
    """The SHA-256 of a credential: 32 bytes, the only form in which it is stored or looked up."""
    return hashlib.sha256(credential.encode("ascii")).digest()


def hint(credential: str) -> str:
    """What of a credential may be shown, such as ``rlk_live_3fA9…x9Zq``."""
    prefix, environment, random = credential.split("_")
    return f"{prefix}_{environment}_{random[:4]}…{random[-4:]}"


def environment(hint: str) -> str | None:
    """The environment of the credential that a hint shows; ``None``: it is a key of another system."""
    shown = _HINT.match(hint)
    return shown[1] if shown else None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        digits.append(_ALPHABET[remainder])
    return "".join(reversed(digits))
