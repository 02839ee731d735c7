"""The memory of every process, by its role, however often it is started anew; and whether it is flat.

Of a role with several processes the largest counts: how many connections a pool has open is no leak.
Counted is what is a process's own (USS): pages that are shared with others, such as PostgreSQL's buffers,
fill up to a bound that is set, and would be counted for each of its processes.

Flat: the median of the last quarter is at most ``MOST_RATIO`` times that of the second, by when pools,
caches and allocators have what they take at first; or ``SLACK_MIB`` more, which an allocator takes at once,
and which is more than a tenth of a small process. So a run sees what grows by a tenth in half of its time.
"""

import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import psutil

from local.errors import LocalError
from tests.faults.rig import WORKERS, Rig
from tests.processes import drains, family, workers

INTERVAL_SECONDS: Final = 2.0
MOST_RATIO: Final = 1.1
SLACK_MIB: Final = 2.0
_MIB: Final = 2**20


@dataclass(frozen=True)
class Trend:
    """A role's medians in MiB: of the second quarter of a run, and of its last."""

    role: str
    before_mib: float
    after_mib: float

    @property
    def ratio(self) -> float:
        """How many times what it was it is."""
        return self.after_mib / self.before_mib

    @property
    def is_flat(self) -> bool:
        """Whether it grew by no more than is allowed."""
        return self.ratio <= MOST_RATIO or self.after_mib - self.before_mib <= SLACK_MIB


def trend(role: str, samples: Sequence[tuple[float, float]], began: float, ended: float) -> Trend:
    """That of a role's samples, each a time and MiB.

    Raises:
        statistics.StatisticsError: one of the two quarters has no sample.

    """
    quarter = (ended - began) / 4
    second = [mib for when, mib in samples if began + quarter <= when < began + 2 * quarter]
    last = [mib for when, mib in samples if began + 3 * quarter <= when]
    return Trend(role, statistics.median(second), statistics.median(last))


Roles = Mapping[str, Callable[[], list[int]]]
"""The processes of each role, as they are now; none while some are being replaced."""


def roles(rig: Rig) -> Roles:
    """Those of the platform."""
    return {
        "API server": lambda: [rig.pid],
        "API workers": lambda: _exactly(workers(rig.pid), WORKERS),
        "drain": lambda: _exactly(drains(rig.pid), 1),
        # Without the child that rewrites its file now and then: what that has is a copy.
        "Redis": lambda: [rig.redis.process.pid],
        "PostgreSQL": lambda: family(rig.postgres.process.pid),
    }


class Sampler:
    """Looks every ``INTERVAL_SECONDS``, in a thread; a role that is away at that moment has no sample."""

    def __init__(self, roles: Roles) -> None:
        self.samples: dict[str, list[tuple[float, float]]] = {}
        self._roles = roles
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def trends(self) -> list[Trend]:
        """Each role's, from the start until now."""
        ended = time.monotonic()
        return [trend(role, samples, self._began, ended) for role, samples in self.samples.items()]

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self.sample()

    def sample(self) -> None:
        """Look once."""
        for role, pids in self._roles.items():
            try:
                own = max((psutil.Process(pid).memory_full_info().uss for pid in pids()), default=0)
            except (psutil.Error, LocalError, AssertionError):
                continue
            if own:
                self.samples.setdefault(role, []).append((time.monotonic(), own / _MIB))


def _exactly(pids: list[int], count: int) -> list[int]:
    return pids if len(pids) == count else []
