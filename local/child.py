"""Child processes that cannot be left behind.

A child runs in a session of its own, so that Ctrl-C at the terminal reaches only the process that started it,
and asks the kernel (Linux) to be signalled when that process dies, even by SIGKILL. Caution: the kernel means
the *thread* that started the child, so start children from a thread that outlives them.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from local.account import Account

STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_PR_SET_PDEATHSIG = 1
_BASIC_VARIABLES = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
# Loaded here, because between fork and exec a child should do as little as possible.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def basic_environment() -> dict[str, str]:
    """Return the harmless part of our own environment; everything else a child must be given by name."""
    return {name: os.environ[name] for name in _BASIC_VARIABLES if name in os.environ}


def die_with_parent(
    signal_number: signal.Signals = signal.SIGTERM, signal_mask: Iterable[int] = ()
) -> Callable[[], None]:
    """Return a `preexec_fn`: receive `signal_number` when the parent dies, and block only `signal_mask`.

    It runs after `Popen` changed the user, as it must: the kernel forgets the wish at a change of user.
    """
    parent = os.getpid()

    def arrange() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number))
            if os.getppid() != parent:  # the parent died before the wish was made
                os._exit(1)

    return arrange


@dataclass
class Child:
    """One long-running process: its command, its log file, and how it is stopped.

    `stop` may be registered before `start`, and is safe to call at any time and more than once. Each start
    begins a new log; the one before is kept beside it as `<log>.1`.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 5.0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, inherited: Sequence[int] = ()) -> None:
        """Start the process; it keeps the descriptors in `inherited`. Raises `OSError` if it cannot."""
        with _new_log(self.log) as log, _stop_signals_held() as mask:
            # Within the hold, so that no stop signal can strike between the fork and the assignment.
            self.process = subprocess.Popen(  # noqa: S603 -- the command is this package's own
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.cwd,
                env=dict(self.environment),
                pass_fds=inherited,
                start_new_session=True,
                preexec_fn=die_with_parent(self.stop_signal, mask),  # noqa: PLW1509 -- see die_with_parent
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
            )

    @property
    def alive(self) -> bool:
        """Whether the process was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Ask the process to end; after `grace_seconds` it is killed, with whatever it started."""
        stop_all([self])

    def last_lines(self, count: int = 10) -> str:
        """Return the end of the log of this start."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        except FileNotFoundError:
            return ""

    def how_it_ended(self) -> str:
        """Describe the end of the process: by which exit code, or by which signal."""
        code = self.process.poll() if self.process else None
        if code is None:
            return "did not end"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def ask_to_stop(self) -> None:
        """Send the stop signal, if the process is still there, and return at once."""
        if self.process is not None and self.alive:
            self.process.send_signal(self.stop_signal)

    def wait_or_kill(self, deadline: float) -> None:
        """Wait until `deadline` (`time.monotonic`), then kill; survivors of its group are killed."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


def stop_all(children: Sequence[Child]) -> None:
    """Stop several children at the same time; takes as long as the slowest one, its grace at most."""
    started = time.monotonic()
    for child in children:
        child.ask_to_stop()
    for child in children:
        child.wait_or_kill(started + child.grace_seconds)


def _new_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("wb")


@contextlib.contextmanager
def _stop_signals_held() -> Iterator[set[int]]:
    """Hold back the stop signals for a moment; yields the signal mask from before."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield {int(number) for number in mask}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
