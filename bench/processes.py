"""CPU seconds of processes, from the operating system's accounting.

A process counts with the children it has waited for, so the sum over a tree only ever grows: what a child
used moves to its parent when it ends. The unit of the accounting is 10 ms, so a window should last seconds.
"""

from dataclasses import asdict, dataclass

import psutil

DRAIN_MODULE = "ratelimiter.request_log"


@dataclass(frozen=True)
class Cpu:
    """CPU time by who used it, in seconds (or, per request, in microseconds)."""

    worker: float = 0.0
    drain: float = 0.0
    redis: float = 0.0
    postgres: float = 0.0

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(
            self.worker - earlier.worker,
            self.drain - earlier.drain,
            self.redis - earlier.redis,
            self.postgres - earlier.postgres,
        )

    def per_request_us(self, requests: int) -> "Cpu":
        """Microseconds of each for one of so many requests."""
        return Cpu(**{name: seconds * 1e6 / requests for name, seconds in asdict(self).items()})


def tree_seconds(pid: int) -> float:
    """What a process and all below it have used."""
    return sum(_seconds(process) for process in _tree(pid))


def server_seconds(pid: int) -> tuple[float, float]:
    """What our server has used: its workers (with their supervisor, if there is one), and its drain.

    The drain is a process of its own below the server; a drain in a worker's thread counts as the worker.
    """
    workers, drain = 0.0, 0.0
    for process in _tree(pid):
        seconds = _seconds(process)
        if is_drain(process):
            drain += seconds
        else:
            workers += seconds
    return workers, drain


def is_drain(process: psutil.Process) -> bool:
    """Whether a process was started as a drain."""
    try:
        return DRAIN_MODULE in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below one."""
    return psutil.Process(pid).children(recursive=True)


def _tree(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *descendants(pid)]


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
