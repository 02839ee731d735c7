"""A clock jumps by an hour, ahead and back: libfaketime tells a process another time than the kernel's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.child import Child
from local.redis import RedisServer
from tests.faults.play import Fault
from tests.faults.rig import Rig

HOUR_SECONDS: Final = 3600
LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's package faketime brings it."""


class RedisWithClock(RedisServer):
    """A Redis in an environment that gives it another time."""

    variables: Mapping[str, str] = {}

    def _make_child(self, port: int) -> Child:
        child = super()._make_child(port)
        child.environment = {**child.environment, **self.variables}
        return child


@contextmanager
def api_with_a_clock(rig: Rig) -> Iterator[None]:
    """The API's server, its workers and the drain have a clock of their own."""
    rig.stop_server()
    rig.start_server(**_variables(rig))
    try:
        yield
    finally:
        rig.stop_server()
        rig.start_server()


@contextmanager
def redis_with_a_clock(rig: Rig) -> Iterator[None]:
    """Redis has a clock of its own."""
    plain, port = rig.redis, rig.redis.port
    plain.stop()
    rig.redis = RedisWithClock(plain.folder, plain.password)
    rig.redis.variables = _variables(rig)
    rig.redis.start(port=port)
    try:
        yield
    finally:
        rig.redis.stop()
        rig.redis = plain
        plain.start(port=port)


@contextmanager
def jumps(rig: Rig) -> Iterator[None]:
    """An hour ahead; in the end an hour back from what is true."""
    _set(rig, HOUR_SECONDS)
    try:
        yield
    finally:
        _set(rig, -HOUR_SECONDS)


def _variables(rig: Rig) -> dict[str, str]:
    _set(rig, 0)
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(_clock(rig)),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _set(rig: Rig, seconds: int) -> None:
    # Renamed into its place: it is read at any time.
    new = _clock(rig).with_suffix(".new")
    new.write_text(f"{seconds:+}\n")
    new.replace(_clock(rig))


def _clock(rig: Rig) -> Path:
    return rig.folder / "clock"


NEEDS: Final = "" if LIBRARY else "needs libfaketime: apt install faketime"

FAULTS: Final = (
    Fault("the API's clock jumps by an hour", jumps, 10, api_with_a_clock, needs=NEEDS),
    # An hour gives every bucket what an hour brings: all it can hold.
    Fault("Redis's clock jumps by an hour", jumps, 10, redis_with_a_clock, needs=NEEDS, more_bursts=1),
)
