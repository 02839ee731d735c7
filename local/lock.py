"""File locks that say who may use a folder.

A lock is `flock`, so the kernel frees it when its last holder is gone, however that holder died. A server
inherits the lock of its folder: as long as any of its processes lives, nobody starts another on its data.
"""

import fcntl
import os
import time
from pathlib import Path

_POLL_SECONDS = 0.05


class HeldError(Exception):
    """Another process holds the lock; the text is what that process wrote into the file."""


def acquire(path: Path, *, wait_seconds: float = 0.0) -> int:
    """Lock `path` (created with mode 0600) and return its open descriptor; closing it frees the lock.

    Raises `HeldError` when the lock is still taken after `wait_seconds`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_seconds
    try:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise HeldError(note(descriptor))  # noqa: TRY301 -- one clean-up for all
            time.sleep(_POLL_SECONDS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def note(descriptor: int) -> str:
    """Return what stands in the lock file: the holder's note, or what a holder that was killed left."""
    return os.pread(descriptor, 64, 0).decode(errors="replace").strip()


def set_note(descriptor: int, text: str) -> None:
    """Replace what stands in the lock file."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
