"""The lines of error in all logs, and which of them the fault of their moment explains."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

_POSTGRES: Final = re.compile(r"\b(ERROR|FATAL|PANIC):  ")
_REDIS: Final = re.compile(r" # (?!WARNING).*\b(error|fail|failed|crashed|corrupt|bug)\b", re.IGNORECASE)
"""Of Redis's levels the highest, in which it also tells its version, and warns of the machine's settings."""


class Explanation(NamedTuple):
    """A fault whose name holds ``fault`` has lines that hold ``text``, and why."""

    fault: str
    text: str
    reason: str


EXPLANATIONS: Final = (
    Explanation("drain killed", "drain_process_ended", "it was"),
    Explanation("cursor taken back", "drain_process_ended", "the drain is killed for it"),
    Explanation(
        "PostgreSQL failed over", "terminating connection due to administrator command", "they are cut"
    ),
    Explanation("PostgreSQL failed over", "too many connections for database", "new ones are refused"),
    Explanation("PostgreSQL killed", "unexpected postmaster exit", "SIGKILL of the first of its processes"),
    Explanation("without PostgreSQL", "unexpected postmaster exit", "the same"),
    Explanation("PostgreSQL", "the database system is", "it recovers, and says so to who comes early"),
    Explanation("without PostgreSQL", "the database system is", "the same"),
)


class Log:
    """A log that may begin anew, the one before kept as ``<name>.1``; each line of error is read once."""

    def __init__(self, path: Path, is_error: Callable[[str], object]) -> None:
        self._is_error = is_error
        self._paths = (path.with_name(f"{path.name}.1"), path)
        self._read: dict[str, int] = {}

    def new_errors(self) -> list[str]:
        """The lines of error since the last time."""
        lines: list[str] = []
        for path in self._paths:
            if not path.exists():
                continue
            whole = path.read_text(errors="replace").split("\n")[:-1]
            if whole:
                # Known by its first line, which holds a time: a new file may have an old one's inode.
                lines += whole[self._read.get(whole[0], 0) :]
                self._read[whole[0]] = len(whole)
        return [line for line in lines if self._is_error(line)]


def of_the_api(line: str) -> bool:
    """Whether a line of the API's tells of an error; one that is no JSON does."""
    try:
        return bool(line) and json.loads(line)["level"] in {"error", "critical"}
    except (ValueError, TypeError, KeyError):
        return True


def of_postgres(line: str) -> bool:
    """Whether a line of PostgreSQL's tells of an error."""
    return _POSTGRES.search(line) is not None


def of_redis(line: str) -> bool:
    """Whether a line of Redis's tells of an error."""
    return _REDIS.search(line) is not None


def judged(lines: Iterable[str], fault: str) -> tuple[Counter[str], list[str]]:
    """Of lines of error those that the fault explains, counted by why, and the others."""
    explained: Counter[str] = Counter()
    unexplained = []
    for line in lines:
        for one in EXPLANATIONS:
            if one.fault in fault and one.text in line:
                explained[f"{one.text}: {one.reason}"] += 1
                break
        else:
            unexplained.append(line)
    return explained, unexplained
