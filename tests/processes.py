"""Processes that a test has started, and what these have started."""

import time
from collections.abc import Iterable

import psutil


def family(pid: int) -> list[int]:
    """A process and all its descendants, itself first."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def members(pid: int, part: str) -> list[int]:
    """Those of a process's family whose command line holds ``part``."""
    return [member for member in family(pid) if part in command(member)]


def drains(pid: int) -> list[int]:
    """The drains in a server's family."""
    return members(pid, "ratelimiter.request_log")


def workers(pid: int) -> list[int]:
    """The workers in a server's family, where it has several."""
    return members(pid, "multiprocessing.spawn")


def command(pid: int) -> str:
    """A process's command line; empty once it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(pids: Iterable[int], seconds: float = 0.0) -> bool:
    """Whether all of them end within so many seconds."""
    deadline = time.monotonic() + seconds
    while any(not is_gone(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
