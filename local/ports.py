"""TCP ports on the loopback interface."""

import errno
import socket
import time

from local.errors import LocalError

LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.1


def free_port() -> int:
    """Return a port that nobody listens on now; another process may still be faster to take it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
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
