"""The lines of a CSV file of keys: read one at a time, and each checked.

What is wrong is told without what stands there, where that may be a key in the wrong column.
"""

import base64
import binascii
import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from api_manager import cidrs, credentials
from api_manager.foreign import MIN_SECRET_LENGTH, Formats
from api_manager.models import (
    FIRST_MOMENT,
    LAST_MOMENT,
    MAX_BURST,
    MAX_NOTE_LENGTH,
    MAX_REFILL_HOURS,
    MAX_REQUESTS_PER_HOUR,
    Tier,
)

MAX_ERRORS: Final = 100
"""Errors that are told one by one; the others are counted."""
DIGEST_BYTES: Final = 32
_OF_ADDRESSES: Final = re.compile(r"(?=.*[.:])[0-9A-Fa-f.:/]+", re.ASCII)
_TRUTH: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True)
class LineError:
    """What is wrong with a line; ``field`` is empty where it is the line as such."""

    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{', ' if self.field else ''}{self.field}: {self.message}"


@dataclass
class Errors:
    """The first ``MAX_ERRORS`` errors, and how many there are."""

    first: list[LineError] = field(default_factory=list)
    count: int = 0

    def add(self, line: int, name: str, message: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < MAX_ERRORS:
            self.first.append(LineError(line, name, message))


class Lines:
    """The keys of a file, as values for ``COLUMNS``; what is wrong is found in ``errors`` once it is read.

    ``text`` are the file's lines with their ends. A file that cannot be read on ends where it cannot.
    ``secrets`` are the formats of what may stand in no text.
    """

    def __init__(self, text: Iterable[str], tiers: Iterable[Tier], secrets: Formats) -> None:
        self.errors = Errors()
        self._secrets = secrets
        self._reader = csv.reader(text, strict=True)
        self._tiers = {tier.name: tier for tier in tiers}

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        line = 1
        try:
            columns = [name.strip() for name in next(self._reader, [])]
            if not self._is_heading(columns):
                return
            line = self._reader.line_num + 1
            for cells in self._reader:
                key = self._key(line, columns, cells) if cells else None
                if key is not None:
                    yield (line, *(key[name] for name in COLUMNS[1:]))
                line = self._reader.line_num + 1
        except csv.Error as exc:
            self.errors.add(line, "", f"this is no CSV: {exc}; what comes behind was not read")
        except UnicodeDecodeError:
            self.errors.add(line, "", "this, or what follows, is not UTF-8, and was not read")

    def _is_heading(self, columns: list[str]) -> bool:
        before = self.errors.count
        for name in columns:
            if name not in _CHECKS:
                known = ", ".join(_CHECKS)
                self.errors.add(1, "", f"there is no {_named('column', name)}; there are {known}")
            elif columns.count(name) > 1:
                self.errors.add(1, name, "the column stands here more than once")
        for name in REQUIRED:
            if name not in columns:
                self.errors.add(1, name, "the column is missing; the first line must name the columns")
        return self.errors.count == before

    def _key(self, line: int, columns: list[str], cells: list[str]) -> Mapping[str, Any] | None:
        """The values of a line; ``None`` where something is wrong with it."""
        if len(cells) != len(columns):
            self.errors.add(
                line, "", f"expected {len(columns)} fields, as in the first line, not {len(cells)}"
            )
            return None
        before = self.errors.count
        said = dict(zip(columns, map(str.strip, cells), strict=True))
        key: dict[str, Any] = {}
        for name, check in _CHECKS.items():
            try:
                key[name] = check(said[name]) if said.get(name) else _missing(name)
            except ValueError as exc:
                self.errors.add(line, name, str(exc))
        tier = self._tiers.get(said["tier"])
        if tier is None and said["tier"]:
            names = ", ".join(self._tiers)
            self.errors.add(line, "tier", f"there is no {_named('tier', said['tier'])}; there are {names}")
        if self.errors.count > before or tier is None:
            return None
        self._check_together(line, said, key, tier)
        return key | {"tier": tier.pk} if self.errors.count == before else None

    def _check_together(self, line: int, said: Mapping[str, str], key: dict[str, Any], tier: Tier) -> None:
        for name in _TEXTS:
            words = said.get(name, "").split()
            if any(hashlib.sha256(word.encode()).digest() == key["digest"] for word in words):
                self.errors.add(line, name, "this is the key itself, which must not be stored")
            elif any(map(self._secrets.include, words)):
                self.errors.add(line, name, "this holds a key of the stated format, which must not be stored")
        rate = key["requests_per_hour"] or tier.requests_per_hour
        burst = key["burst"] or tier.burst or rate
        if burst > rate * MAX_REFILL_HOURS:
            slow = f"at {rate:,} requests per hour a burst of {burst:,} takes over ten years to refill"
            self.errors.add(line, "burst" if key["burst"] else "requests_per_hour", slow)
        if not key["hint"]:
            key["hint"] = f"sha256:{key['digest'].hex()[:12]}…"


def _named(noun: str, name: str) -> str:
    return f"{noun} {name!r}" if len(name) < MIN_SECRET_LENGTH else f"such {noun}"


def _missing(name: str) -> Any:
    if name in REQUIRED:
        raise ValueError("this may not be empty")
    return _DEFAULTS.get(name)


def _digest(text: str) -> bytes:
    try:
        if len(text) == 2 * DIGEST_BYTES:
            return bytes.fromhex(text)
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        digest = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise ValueError("expected a SHA-256 digest: 64 hexadecimal digits, or 32 bytes in base64")
    return digest


def _text(longest: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f"expected {longest} characters at most, not {len(text)}")
        if "\0" in text:
            raise ValueError("a NUL character cannot be stored")
        if credentials.stands_in(text):
            raise ValueError("this holds an API key, and it would be stored and shown")
        return text

    return check


def _email(text: str) -> str:
    try:
        validate_email(text)
    except ValidationError:
        raise ValueError("expected an e-mail address") from None
    return _text(254)(text)


def _number(highest: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(highest))):
            raise ValueError(f"expected a whole number from 1 to {highest:,}")
        if not 1 <= int(text) <= highest:
            raise ValueError(f"expected a whole number from 1 to {highest:,}")
        return int(text)

    return check


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected ISO 8601, such as 2030-01-31T12:00:00Z (UTC without a zone)") from None
    if not FIRST_MOMENT <= moment < LAST_MOMENT:
        raise ValueError("expected a time in the years 2000 to 8999")
    return moment


def _networks(text: str) -> str:
    """Networks as PostgreSQL reads an array of them."""
    words = text.replace(",", " ").replace(";", " ").split()
    if any(len(word) >= MIN_SECRET_LENGTH and not _OF_ADDRESSES.fullmatch(word) for word in words):
        raise ValueError("expected IP addresses and networks such as 10.0.0.0/8")
    networks = {str(cidrs.parse(word)): None for word in words}
    if len(networks) > cidrs.MAX_CIDRS:
        raise ValueError(f"expected {cidrs.MAX_CIDRS} networks at most, not {len(networks)}")
    return f"{{{','.join(networks)}}}"


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError("expected true or false")
    return _TRUTH[text.lower()]


_CHECKS: Final[dict[str, Callable[[str], Any]]] = {
    "digest": _digest,
    "name": _text(100),
    "owner_email": _email,
    "tier": str,
    "requests_per_hour": _number(MAX_REQUESTS_PER_HOUR),
    "burst": _number(MAX_BURST),
    "is_active": _truth,
    "expires_at": _moment,
    "allowed_cidrs": _networks,
    "note": _text(MAX_NOTE_LENGTH),
    "hint": _text(32),
}
"""Each column, and what makes a value of its text or raises a ValueError that says what was expected."""
_TEXTS: Final = ("name", "owner_email", "note", "hint")
_DEFAULTS: Final = {"owner_email": "", "is_active": True, "allowed_cidrs": "{}", "note": ""}
REQUIRED: Final = ("digest", "name", "tier")
COLUMNS: Final = ("line", *_CHECKS)
"""What a key is told as: the number of its line, then what the file says of it; the tier by its id."""
