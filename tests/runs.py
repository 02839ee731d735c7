"""Runs of the whole platform, as `make run` starts it, for the tests that look at it from outside."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil

from local import environment
from local.ports import free_port
from tests.processes import all_gone, command, family
from tests.servers import PROJECT

UP_SECONDS = 100
EXTERNAL = ("DATABASE_URL", "API_DATABASE_URL", "REDIS_URL")


class Run:
    """One `python -m local run`, as `make run` starts it."""

    def __init__(self, state, **variables):
        self.state = state
        inherited = {name: value for name, value in os.environ.items() if name not in EXTERNAL}
        ports = {"API_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
        self.output = state.with_name(f"{state.name}.out")
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local", "run"],
                cwd=PROJECT,
                # A busy machine is no reason to decide without Redis. Few tests are about notices.
                env=inherited
                | ports
                | {"LOCAL_DIR": str(state), "DECISION_TIMEOUT_SECONDS": "5", "SEND_NOTICES": "false"}
                | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self):
        return self.output.read_text()

    def wait_until_up(self):
        deadline = time.monotonic() + UP_SECONDS
        while "Ctrl-C stops everything" not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)
        return environment.load(self.state / "env")

    def family(self):
        """The process ids of the run and of all its descendants."""
        return family(self.process.pid)

    def child(self, part):
        """The process id of the direct child whose command line holds `part`."""
        children = (child.pid for child in psutil.Process(self.process.pid).children())
        return next(pid for pid in children if part in command(pid))

    def end(self, number=signal.SIGINT):
        """Send a signal and wait; returns the exit code, the seconds, and whether all are gone within 10."""
        family = self.family()
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, time.monotonic() - began, all_gone(family, 10 - (time.monotonic() - began))


@contextmanager
def running(state, **variables):
    run = Run(state, **variables)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.end(signal.SIGTERM)
