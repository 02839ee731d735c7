"""Plays an attack beside a steady load, in turn with the load alone, and measures both."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.faults.load import Answer, Load
from tests.faults.play import PATIENCE_SECONDS
from tests.faults.rig import Rig
from tests.waiting import wait_for

from .attacks import Attack, Attacker

_LOOKUP: Final = "api_key.digest = ANY"


class Target(Rig):
    """The platform under attack: one worker, and a PostgreSQL that logs each of the API's statements."""

    def __init__(self, **variables: str) -> None:
        super().__init__(WEB_CONCURRENCY="1", DECISION_TIMEOUT_SECONDS="0.5", LOG_LEVEL="info", **variables)

    def start_server(self, **variables: str) -> None:
        """Have the statements logged, then start the API."""
        self.sql(f"ALTER DATABASE {urlsplit(self.admin_url).path[1:]} SET log_statement = 'all'")
        super().start_server(**variables)

    def lookups(self) -> int:
        """The queries for keys that were not cached, so far."""
        return self.postgres.log.read_text(errors="replace").count(_LOOKUP)

    def memory_kib(self) -> int:
        """What the worker has in memory."""
        assert self.server is not None
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def secrets(self, count: int, *, per_second: float, burst: int) -> list[str]:
        """Make keys; returns what clients send of them."""
        return [key.secret for key in self.issue(count, per_second=per_second, burst=burst)]

    def warm_up(self, keys: list[str]) -> None:
        """Ask with each key until none is looked up any more, as they are while there are news."""

        def are_known() -> bool:
            before = self.lookups()
            with httpx.Client(base_url=self.url, trust_env=False) as http:
                for key in keys:
                    http.get("/api/check", headers={"X-API-Key": key})
            time.sleep(0.2)
            return self.lookups() == before

        wait_for(are_known, seconds=30)

    def connections(self) -> int:
        """The clients' connections that are open."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(line[1].endswith(f":{self.port:04X}") and line[3] == "01" for line in sockets)

    def rows(self) -> tuple[int, int]:
        """The rows of the log, whatever keys they are of, and how many stand in it twice.

        Of a flood of denials one may stand for many.
        """
        counts = "SELECT count(*), count(*) - count(DISTINCT decision_id) FROM request_log"
        [(rows, doubled)] = self.sql(counts)
        return rows, doubled


@dataclass(frozen=True)
class Outcome:
    """What the good clients saw alone and under attack, and what the attack took.

    The p99s are in seconds, the medians of the rounds; so is their ratio, which is of each round's own two.
    ``rows``, of the log, are all but the good clients'.
    """

    attack: str
    sent: int
    p99_alone: float
    p99_under_attack: float
    ratio: float
    failed: int
    lookups: int
    attack_seconds: float
    rows: int
    memory_before_kib: int
    memory_peak_kib: int


def play(
    attack: Attack,
    rig: Target,
    good: list[str],
    bad: str,
    *,
    rounds: int,
    seconds: float,
    per_second: float,
) -> Outcome:
    """Load it alone and under attack, in turn; ``good`` keys are asked for, ``bad`` is the attacker's."""
    alone, attacked = list[float](), list[float]()
    answered = Counter[int | None]()
    sent = lookups = 0
    seconds_under_attack = 0.0
    (rows, _), memory = rig.rows(), rig.memory_kib()
    peak = memory
    for _ in range(rounds):
        answers = ask(rig, good, per_second, seconds)
        alone.append(p99(answers))
        answered.update(answer.status for answer in answers)
        lookups -= rig.lookups()
        began = time.monotonic()
        with Attacker([attack], rig.port, bad) as attacker:
            answers = ask(rig, good, per_second, seconds)
            peak = max(peak, rig.memory_kib())
        seconds_under_attack += time.monotonic() - began
        attacked.append(p99(answers))
        answered.update(answer.status for answer in answers)
        sent += attacker.sent
        lookups += rig.lookups()
    least = rows + answered[HTTPStatus.OK]
    rows_now, _ = rig.rows_at_rest(lambda seen: seen >= least, PATIENCE_SECONDS)
    return Outcome(
        attack.name,
        sent,
        statistics.median(alone),
        statistics.median(attacked),
        statistics.median(b / a for a, b in zip(alone, attacked, strict=True)),
        answered.total() - answered[HTTPStatus.OK],
        lookups,
        seconds_under_attack,
        rows_now - rows - answered[HTTPStatus.OK],
        memory,
        peak,
    )


def ask(rig: Target, keys: list[str], per_second: float, seconds: float) -> list[Answer]:
    """Load it; returns the answers."""
    with Load(rig.url, keys, per_second) as load:
        time.sleep(seconds)
    return load.answers


def p99(answers: list[Answer]) -> float:
    """The 99th percentile of the answers' times, in seconds."""
    times = sorted(answer.seconds for answer in answers)
    return times[int(0.99 * (len(times) - 1))]
