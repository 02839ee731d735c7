"""A worker is killed or stopped, or all are replaced."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.faults.play import Fault
from tests.faults.rig import Rig
from tests.processes import is_gone, workers
from tests.waiting import wait_for


@contextmanager
def worker_killed(rig: Rig) -> Iterator[None]:
    """SIGKILL of one of the workers; the server starts another."""
    os.kill(workers(rig.pid)[0], signal.SIGKILL)
    yield


@contextmanager
def worker_stopped(rig: Rig) -> Iterator[None]:
    """SIGTERM to one of the workers; the server starts another."""
    os.kill(workers(rig.pid)[0], signal.SIGTERM)
    yield


@contextmanager
def rolling_restart(rig: Rig) -> Iterator[None]:
    """SIGHUP to the server, which replaces its workers one after the other."""
    before = workers(rig.pid)
    os.kill(rig.pid, signal.SIGHUP)
    wait_for(lambda: all(map(is_gone, before)), seconds=60)
    yield


FAULTS: Final = (
    # What it was deciding, for a decision timeout at most, ends with it, and the denials not yet recorded.
    Fault("a worker killed", worker_killed, 5, fails_seconds=0.05, loses_seconds=1),
    Fault("a worker stopped", worker_stopped, 5),
    Fault("a rolling restart", rolling_restart, 1),
)
