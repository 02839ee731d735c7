"""What the embedded servers have in common: start, wait until ready, stop.

Each server owns a folder, is a direct child of the process that starts it, and listens on 127.0.0.1 only, on
a port that is chosen free at each start. A start is safe after any end of the one before, SIGKILL included.
"""

import os
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from local import lock
from local.child import Child
from local.errors import LocalError
from local.ports import free_port

_START_SECONDS = 60.0
_ATTEMPTS = 5
# The processes of a server whose supervisor was killed need a moment to end.
_PREDECESSOR_SECONDS = 10.0


class Server(ABC):
    """An embedded server. As a context manager it is started (if it was not) and stopped."""

    name: str
    poll_seconds: float

    def __init__(self, folder: Path, log: Path | None) -> None:
        """Take over `folder`; nothing is done before `start`. The log is `<folder>/<name>.log` by default."""
        self.folder = folder.absolute()
        self.log = log or self.folder / f"{self.name}.log"
        self._child: Child | None = None
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The port of the last start; it stays known after a stop. Raises `LocalError` before the first."""
        if self._port is None:
            raise LocalError(f"{self.name} was not started")
        return self._port

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server. Raises `LocalError` when it is stopped."""
        if self._child is None or self._child.process is None:
            raise LocalError(f"{self.name} is not running")
        return self._child.process

    @property
    def child(self) -> Child | None:
        """The supervised process, or None before the first start."""
        return self._child

    def start(self, port: int | None = None) -> Self:
        """Start on `port`, or on a free one, and return when connections are accepted.

        Raises `LocalError` when the folder is in use or the server does not come up; nothing is left running.
        """
        if self._child is not None and self._child.alive:
            return self
        self._prepare()
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = port or free_port()
            child = self._child = self._make_child(self._port)
            try:
                self._spawn(child)
                if self._wait_until_ready(child):
                    return self
            except BaseException:
                child.stop()
                raise
            output = child.last_lines()
            # Between choosing a port and binding it, another process can take it.
            if port is not None or "Address already in use" not in output or attempt == _ATTEMPTS:
                break
        raise LocalError(f"{self.name} {child.how_it_ended()}; log {self.log}:\n{output}")

    def stop(self) -> None:
        """Stop within a few seconds; a server that was not started is no error."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End the server by SIGKILL, as a crash would, and return when it is gone."""
        self.process.kill()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the folder and what must be in it before a start."""

    @abstractmethod
    def _make_child(self, port: int) -> Child:
        """Return the process to be started for `port`."""

    @abstractmethod
    def _ready(self, child: Child) -> bool:
        """Whether this very process, not another one on the same port, accepts connections."""

    def _lock(self) -> int:
        try:
            return lock.acquire(self.folder / "lock", wait_seconds=_PREDECESSOR_SECONDS)
        except lock.HeldError as exc:
            raise LocalError(f"Another {self.name} is running on {self.folder}.") from exc

    def _spawn(self, child: Child) -> None:
        # From here on the server itself holds the lock, until the last of its processes is gone.
        held = self._lock()
        try:
            self._clear_leftovers()
            child.start(inherited=[held])
        finally:
            os.close(held)

    def _clear_leftovers(self) -> None:
        """Remove what a killed predecessor left; called while the lock proves that none is running."""
        return

    def _wait_until_ready(self, child: Child) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while child.alive:
            if self._ready(child):
                return True
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} was not ready after {_START_SECONDS:.0f} s; log {self.log}")
            time.sleep(self.poll_seconds)
        return False
