"""A platform apart: in a temporary folder, on free ports, and told nothing by our environment."""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local import environment
from local.account import private_folder, unprivileged_account
from local.child import Child, basic_environment
from local.errors import LocalError
from local.ports import free_port

PROJECT: Final = Path(__file__).resolve().parent.parent

_START_SECONDS = 90.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Platform:
    """A running platform: its state folder, and what stands in its `env` file."""

    folder: Path
    values: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values[name]


@contextmanager
def platform(**variables: str) -> Iterator[Platform]:
    """`make run` meanwhile, with these variables in its environment; its data are gone afterwards.

    Raises `LocalError` with the end of its output when it does not come up.
    """
    ports = {"API_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    with tempfile.TemporaryDirectory(prefix="ratelimiter-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL has an account of its own when we are root
        state = Path(folder, "state")
        with _data_removed(state), running("run", state, **ports, **variables) as run:
            deadline = time.monotonic() + _START_SECONDS
            while "DEMO_API_KEY" not in (values := environment.load(state / "env")):
                if not run.alive or time.monotonic() > deadline:
                    raise LocalError(f"The platform did not start:\n{run.last_lines()}")
                time.sleep(_POLL_SECONDS)
            yield Platform(state, values)


@contextmanager
def _data_removed(state: Path) -> Iterator[None]:
    """Afterwards the database is gone, even where another folder had to stand in for one below `state`."""
    try:
        yield
    finally:
        data = private_folder(state / "postgres", unprivileged_account())
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def running(command: str, state: Path, **variables: str) -> Iterator[Child]:
    """`python -m local <command>` meanwhile, on this state folder."""
    output = state.parent / "output"
    output.mkdir(mode=0o700, exist_ok=True)  # a run greets with its secrets
    child = Child(
        f"python -m local {command}",
        [sys.executable, "-m", "local", command],
        log=output / f"{command}.log",
        environment=basic_environment() | {"LOCAL_DIR": str(state), "PYTHONUNBUFFERED": "1"} | variables,
        cwd=PROJECT,
        stop_signal=signal.SIGINT,
        grace_seconds=_STOP_SECONDS,
    )
    try:
        child.start()
        yield child
    finally:
        child.stop()
