"""The formats of imported keys that are kept, for the API and for whoever pastes a key here."""

from typing import Final

from api_manager.foreign import Format, Formats
from api_manager.models import ForeignFormat

MAX_FORMATS: Final = 20
"""Formats that are kept at most: the API compares each unknown string with all of them."""
FIELDS: Final = ("prefix", "min_length", "max_length", "alphabet")


class TooManyFormatsError(Exception):
    """There are as many formats as may be; the text says so, to an operator."""


def known() -> list[Format]:
    """The formats that are kept."""
    return [Format(*row) for row in ForeignFormat.objects.values_list(*FIELDS)]


def is_one(text: str) -> bool:
    """Whether a text has a format that is kept."""
    return Formats(known()).include(text)


def shows_itself(text: str) -> bool:
    """The same, where a prefix tells; without one a format may be that of a long word, too."""
    return Formats(each for each in known() if each.prefix).include(text)


def shown_by(stated: ForeignFormat) -> Formats:
    """The stated format, where its prefix tells a key from a long word; else none."""
    return Formats([Format(*(getattr(stated, name) for name in FIELDS))] if stated.prefix else [])


def keep(stated: ForeignFormat) -> bool:
    """Keep a format; whether it is new. Raises ``TooManyFormatsError``."""
    said = {name: getattr(stated, name) for name in FIELDS}
    if ForeignFormat.objects.filter(**said).exists():
        return False
    if ForeignFormat.objects.count() >= MAX_FORMATS:
        raise TooManyFormatsError(f"{MAX_FORMATS} formats of keys are known, and no more may be.")
    ForeignFormat.objects.create(**said)
    return True
