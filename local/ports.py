"""TCP ports on the loopback interface."""

import errno
import random
import socket
import time

from local.errors import LocalError

LOOPBACK = "127.0.0.1"
_NOT_EPHEMERAL = (15_000, 32_768)
_POLL_SECONDS = 0.1
_RANDOM = random.SystemRandom()


def free_port() -> int:
    """Return a port that nobody listens on now; another process may still be faster to take it.

    None of those that the system gives to outgoing connections (from 32768 on Linux, 49152 elsewhere): before
    whoever asked listens there, one of them may have it.
    """
    # Not the `random` of the process, which tests seed alike in each.
    while _try_bind(port := _RANDOM.randrange(*_NOT_EPHEMERAL)) is not None:
        pass
    return port


def require_free(port: int, variable: str, wait_seconds: float = 0.0, command: str = "make run") -> None:
    """Raise `LocalError`, naming the variable and command that change it, when `port` cannot be bound.

    A port in use is given `wait_seconds` to become free.
    """
    deadline = time.monotonic() + wait_seconds
    while (problem := _try_bind(port)) is not None:
        in_use = problem.errno == errno.EADDRINUSE
        if not in_use or time.monotonic() >= deadline:
            reason = "is in use" if in_use else f"cannot be used ({problem.strerror})"
            raise LocalError(f"Port {port} {reason}; choose another one: {variable}=<port> {command}")
        time.sleep(_POLL_SECONDS)


def _try_bind(port: int) -> OSError | None:
    with socket.socket() as probe:
        # As the servers do: a connection lingering in TIME_WAIT does not count as "in use".
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as exc:
            return exc
    return None
