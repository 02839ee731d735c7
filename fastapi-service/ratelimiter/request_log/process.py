"""The drain as a child process, so that copying the log takes no time from the event loops that decide."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from ratelimiter import metrics

LOOK_SECONDS: Final = 0.1
RESTART_SECONDS: Final = 1.0
STOP_SECONDS: Final = 2.0
"""Then it is killed, which loses nothing: a transaction that was cut off is copied again."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


@contextmanager
def drain_process() -> Iterator[None]:
    """Keep one drain running meanwhile, started anew when it ends; nothing is left behind.

    The child holds the read end of a pipe, and stops when the other end is closed, which only this
    process has: here at the end, or by the kernel when this process is killed. (The kernel's own signal
    at a parent's death is Linux's alone, and means the thread that started the child.)
    """
    stop = threading.Event()
    thread = threading.Thread(target=_keep_running, args=(stop,), name="drain-process", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _keep_running(stop: threading.Event) -> None:
    # A child inherits its thread's mask. Ctrl-C and some service managers signal the whole group, but the
    # drain is to go on until the workers have ended; and in a group of its own, whoever kills what is left
    # of ours would miss it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    while not stop.is_set():
        try:
            how = _run(stop)
        except OSError as exc:
            how = str(exc)
        if not stop.is_set():
            metrics.DRAIN_FAILURES.labels("process").inc()
            log.error("drain_process_ended", how=how, restart_seconds=RESTART_SECONDS)
            stop.wait(RESTART_SECONDS)


def _run(stop: threading.Event) -> str:
    """Run a drain until it ends or ``stop`` is set; says how it ended."""
    command = [sys.executable, "-m", "ratelimiter.request_log", "--until-stdin-closes"]
    environment = {name: value for name, value in os.environ.items() if name != "ADMIN_API_TOKEN"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:  # noqa: S603  # our own program
        while process.poll() is None and not stop.wait(LOOK_SECONDS):
            pass
        try:
            process.communicate(timeout=STOP_SECONDS)  # closes the pipe, and waits
        except subprocess.TimeoutExpired:
            process.kill()
    return f"exit code {process.returncode}"
