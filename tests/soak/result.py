"""What came of a soak: judged, as JSON, and as a few lines for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .balance import Balance
from .bounds import Admission
from .memory import Trend


@dataclass(frozen=True)
class Result:
    """Everything that is judged, and what it was judged of.

    ``admissions`` are those of all limited buckets, ``trends`` those of all roles where memory was looked at.
    ``explained_errors`` counts lines of error by why they are there; ``broken_by_faults`` are promises that
    the faults themselves saw broken.
    """

    date: str
    seed: int
    seconds: float
    per_second: float
    faults: Mapping[str, int]
    management: Mapping[str, int]
    other_answers: Mapping[str, int]
    balance: Balance
    doubled: int
    dropped: int
    unequal_usage: int
    admissions: Sequence[Admission]
    trends: Sequence[Trend]
    explained_errors: Mapping[str, int]
    unexplained_errors: Sequence[str]
    broken_by_faults: Sequence[str]

    @property
    def broken(self) -> list[str]:
        """Each breach; empty if all is well."""
        unequal = [one for one in self.admissions if not one.is_within]
        counts = {
            "rows are doubled": self.doubled,
            "rows were dropped, without a fault that does it": self.dropped,
            "totals of usage_hourly are not those of the log": self.unequal_usage,
        }
        return [
            *self.balance.unexplained,
            *(f"{count} {what}" for what, count in counts.items() if count),
            *(f"a key admitted too much: {one}" for one in unequal),
            *(f"memory is not flat: {one}" for one in self.trends if not one.is_flat),
            *(f"a line of error: {line}" for line in self.unexplained_errors),
            *(f"{count} answers {status}" for status, count in self._unexpected()),
            *self.broken_by_faults,
        ]

    def json(self) -> str:
        """Everything, for programs."""
        whole: dict[str, Any] = asdict(self) | {"broken": self.broken}
        return json.dumps(whole, indent=2, sort_keys=True)

    def lines(self) -> list[tuple[str, str]]:
        """What was judged and what it was, for a table."""
        books = self.balance
        nearest = max(self.admissions, key=lambda one: (one.admitted / one.bound, one.bound))
        above = sum(not one.is_within for one in self.admissions)
        alone = sum(one.alone for one in self.admissions)
        alone_bound = sum(one.alone_bound for one in self.admissions)
        faults = sum(self.faults.values())
        return [
            ("ran", f"{self.date}, {self.seconds / 60:.1f} minutes, seed {self.seed}"),
            ("load", f"{self.per_second:g} requests a second, {faults} faults of {len(self.faults)} kinds"),
            ("decisions answered", f"{books.answered}"),
            ("rows written", f"{books.rows}, {self.doubled} doubled"),
            *((f"… lost {reason}", str(count)) for reason, count in books.lost.items()),
            ("… recorded without an answer", str(books.recorded_without_answer)),
            ("… unexplained accounts", str(len(books.unexplained))),
            ("totals of usage_hourly that differ", str(self.unequal_usage)),
            ("limited keys", f"{len(self.admissions)}, {above} above their bounds"),
            ("… the nearest", f"{nearest.admitted} tokens of {nearest.bound:.0f}"),
            ("… by workers alone, in all", f"{alone} tokens of {alone_bound:.0f}"),
            *((f"memory, {one.role}", _memory(one)) for one in self.trends),
            (
                "lines of error",
                f"{len(self.unexplained_errors)}; by the faults {sum(self.explained_errors.values())}",
            ),
            (
                "other answers",
                ", ".join(f"{count}x {what}" for what, count in sorted(self.other_answers.items())),
            ),
            (
                "management calls",
                ", ".join(f"{count}x {what}" for what, count in sorted(self.management.items())),
            ),
        ]

    def markdown(self) -> str:
        """The same, to be pasted into a document."""
        rows = [f"| {what} | {found} |" for what, found in self.lines()]
        return "\n".join(["| | |", "|---|---|", *rows])

    def _unexpected(self) -> list[tuple[str, int]]:
        """Answers of the kind that nothing explains: errors nobody foresaw, keys refused that are good."""
        seen = [*self.management.items(), *self.other_answers.items()]
        return [(status, count) for status, count in seen if status.startswith("5") and status != "503"]


def _memory(trend: Trend) -> str:
    return f"{trend.before_mib:.1f} MiB, then {trend.after_mib:.1f} ({trend.ratio:.2f})"
