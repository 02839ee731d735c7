"""PostgreSQL is killed, frozen, failed over, out of disk, or cut off; and workers start without it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import httpx

from tests.faults.ground import is_within_reach
from tests.faults.play import Fault
from tests.faults.rig import Rig
from tests.processes import family, is_gone, workers
from tests.waiting import wait_for


@contextmanager
def killed(rig: Rig) -> Iterator[None]:
    """SIGKILL; started again."""
    port = rig.postgres.port
    rig.postgres.kill()
    try:
        yield
    finally:
        rig.postgres.start(port=port)


@contextmanager
def frozen(rig: Rig) -> Iterator[None]:
    """SIGSTOP, of the server and all its processes."""
    processes = family(rig.postgres.process.pid)
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def failed_over(rig: Rig) -> Iterator[None]:
    """All connections are cut, and new ones are refused for a while."""
    rig.sql("ALTER DATABASE ratelimiter WITH CONNECTION LIMIT 0")
    rig.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'ratelimiter%'")
    try:
        yield
    finally:
        rig.sql("ALTER DATABASE ratelimiter WITH CONNECTION LIMIT -1")


@contextmanager
def disk_full(rig: Rig) -> Iterator[None]:
    """Its disk has no byte left; one that stops for it is started again when there is room."""
    assert rig.disk is not None
    port = rig.postgres.port
    rig.disk.fill()
    try:
        yield
    finally:
        rig.disk.free()
        if rig.postgres.process.poll() is not None:
            rig.postgres.start(port=port)


@contextmanager
def cut_off(rig: Rig) -> Iterator[None]:
    """Every packet to it and from it vanishes."""
    assert rig.network is not None
    rig.network.cut()
    try:
        yield
    finally:
        rig.network.heal()


@contextmanager
def away_while_workers_restart(rig: Rig) -> Iterator[None]:
    """SIGKILL; then every worker is another one, which knows no key from PostgreSQL."""
    [revoked] = rig.issue(1, per_second=1000, burst=1000)
    rig.ask_all_workers(revoked.secret)
    rig.revoke(revoked)
    wait_for(lambda: rig.ask_all_workers(revoked.secret) == {httpx.codes.FORBIDDEN})
    with killed(rig):
        before = workers(rig.pid)
        os.kill(rig.pid, signal.SIGHUP)
        wait_for(lambda: all(map(is_gone, before)), seconds=60)
        if httpx.codes.OK in rig.ask_all_workers(revoked.secret):
            rig.broken.append("a revoked key passed a worker that started without PostgreSQL")
        yield


NEEDS: Final = "" if is_within_reach() else "needs root, who may mount and make network namespaces"
_away = partial(Fault, edits_wait=True, hides_keys=True)

FAULTS: Final = (
    _away("PostgreSQL killed", killed, 60),
    _away("PostgreSQL frozen", frozen, 20),
    _away("PostgreSQL failed over", failed_over, 5),
    _away("PostgreSQL cut off by the network", cut_off, 20, as_root=True, needs=NEEDS),
    Fault("PostgreSQL's disk full", disk_full, 20, edits_wait=True, as_root=True, needs=NEEDS),
    _away("all workers restarted without PostgreSQL", away_while_workers_restart, 5),
)
