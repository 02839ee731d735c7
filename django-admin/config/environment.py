"""The environment, read strictly: a value that is not understood is an error, never a default."""

import os
import re
from typing import Any, Final

import environ  # type: ignore[import-untyped]  # it has no annotations
from django.core.exceptions import ImproperlyConfigured

_FLAGS: Final = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def require(*names: str) -> None:
    """Names all variables at once that must be set and are not."""
    problems = [
        f"{name}: {'is empty' if name in os.environ else 'is not set, and has no default'}"
        for name in names
        if not os.environ.get(name)
    ]
    if problems:
        raise ImproperlyConfigured("; ".join(problems))


def text(name: str, default: str = "") -> str:
    """Any text."""
    return os.environ.get(name, default)


def words(name: str) -> list[str]:
    """A list, separated by commas; unset: empty."""
    return [word.strip() for word in text(name).split(",") if word.strip()]


def flag(name: str) -> bool:
    """Yes or no; unset: no."""
    value = _FLAGS.get(text(name, "false").lower())
    if value is None:
        raise _wrong(name, f"one of {', '.join(_FLAGS)}")
    return value


def count(name: str) -> int:
    """A whole number from 0; unset: 0."""
    value = text(name, "0")
    if re.fullmatch(r"[0-9]{1,9}", value) is None:
        raise _wrong(name, "a whole number, 0 or more")
    return int(value)


def key_environment(name: str) -> str:
    """The middle word of a key."""
    value = text(name, "live")
    if re.fullmatch(r"[a-z]{1,10}", value) is None:
        raise _wrong(name, "1 to 10 lower-case letters")
    return value


def log_level(name: str) -> str:
    """The lowest level that is logged, in any case."""
    value = text(name, "info").lower()
    if value not in _LEVELS:
        raise _wrong(name, f"one of {', '.join(_LEVELS)}")
    return value


def database(name: str) -> dict[str, Any]:
    """Django's form of a database's URL. What is wrong with one is not repeated: it has a password."""
    url = text(name)
    try:
        if url.startswith(("postgresql://", "postgres://")):
            return dict(environ.Env.db_url_config(url))
    except ValueError:
        pass
    raise _wrong(name, "postgresql://user:password@host:port/name, with a password that is URL-encoded")


def _wrong(name: str, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{name}: expected {expected}")
