"""Keys of other systems: which strings may be one, judged before any I/O.

A key that was imported by its digest has not our shape and no checksum of ours. So that garbage is still
refused without a look-up, each import states the format of its keys: a prefix, a length, an alphabet. A
string of no stated format ends here; a platform that imported nothing looks nothing up that it did not
before.

One that fits is looked up as a key of ours is, at the same bounded rate: a checksum keeps typing errors
away, not an attacker, who can compute it. So a format opens nothing that was closed before; a narrow one
only keeps more garbage away. What follows the prefix has ``MIN_SECRET_LENGTH`` characters at least: a
shorter key could be guessed, from its digest too.

What begins like a credential of ours is never foreign.

The API service carries the same module, for it is shipped apart; a contract test compares them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MIN_SECRET_LENGTH: Final = 16
"""Characters after the prefix, at least."""
MAX_LENGTH: Final = 200
"""Characters of a whole key, at most."""
ALPHABETS: Final = {
    "hex": "0-9A-Fa-f",
    "base62": "0-9A-Za-z",
    "base64url": "0-9A-Za-z_-",
    "visible": "!-~",
}
"""What may follow a prefix, as a class of characters; ``visible`` is all of ASCII that is seen."""


@dataclass(frozen=True, slots=True)
class Format:
    """What the keys of another system look like; the lengths are those of a whole key."""

    prefix: str
    min_length: int
    max_length: int
    alphabet: str


class Formats:
    """The formats of all keys that were imported."""

    def __init__(self, formats: Iterable[Format]) -> None:
        alternatives = "|".join(map(_expression, formats))
        # (?!) never matches: without a format nothing is foreign.
        self._pattern = re.compile(rf"(?!rl[km]_)(?:{alternatives or '(?!)'})", re.ASCII)

    def include(self, text: str) -> bool:
        """Whether a text has one of the formats."""
        return self._pattern.fullmatch(text) is not None


def _expression(format_: Format) -> str:
    least, most = format_.min_length - len(format_.prefix), format_.max_length - len(format_.prefix)
    return rf"{re.escape(format_.prefix)}[{ALPHABETS[format_.alphabet]}]{{{least},{most}}}"


ANY: Final = Formats([Format("", MIN_SECRET_LENGTH, MAX_LENGTH, "visible")])
"""Whatever could have a format: what holds until the formats have been read."""
