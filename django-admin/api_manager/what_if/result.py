"""What came of it: really, and under the limits that were asked about."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from api_manager.models import APIKey
from api_manager.request_log.criteria import Span


@dataclass(frozen=True)
class Sums:
    """Requests that were really admitted and denied, and what would be otherwise."""

    admitted: int = 0
    denied: int = 0
    newly_admitted: int = 0
    newly_denied: int = 0

    @property
    def would_admit(self) -> int:
        """How many would have been admitted."""
        return self.admitted + self.newly_admitted - self.newly_denied

    @property
    def would_deny(self) -> int:
        """How many would have been denied."""
        return self.denied - self.newly_admitted + self.newly_denied

    @property
    def changed(self) -> int:
        """Requests whose outcome would be another."""
        return self.newly_admitted + self.newly_denied

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.admitted + other.admitted,
            self.denied + other.denied,
            self.newly_admitted + other.newly_admitted,
            self.newly_denied + other.newly_denied,
        )


@dataclass(frozen=True)
class Hour:
    """What happened in an hour, and would have."""

    start: datetime
    sums: Sums


@dataclass(frozen=True)
class KeyChange:
    """What happened to a key and those it was rotated from; ``key`` is the newest."""

    key: APIKey
    sums: Sums


@dataclass(frozen=True)
class Result:
    """The answer. ``error``: by how many requests ``would_admit`` of all may be off, at most.

    ``denied_by``: by the name of a limit the requests that it would have denied; several may deny one.
    ``keys`` had requests; ``top`` are those whose outcomes change most.
    """

    span: Span
    total: Sums
    hours: list[Hour]
    keys: int
    changed_keys: int
    top: list[KeyChange]
    denied_by: Mapping[str, int]
    error: int
    shared: int
    """Denials that share a row with others."""
    rows: int
