"""`make backup`: everything that lasts, in one file, while the platform goes on.

The dump is one view of the database: rows of the log and the drain's cursor agree in it, so that after a
restore no record is doubled. It has no usable key and no session, but digests, the hashes of the operators'
passwords, addresses and usage: the folder and the file are their owner's alone.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from local.errors import LocalError
from local.signals import StopRequested, StopSignals
from local.stack import PROJECT, Snapshot, Stack, find, require_success

_COUNTS = """
    SELECT (SELECT count(*) FROM api_key), (SELECT count(*) FROM api_key WHERE revoked_at IS NOT NULL),
           (SELECT count(*) FROM tier), (SELECT count(*) FROM request_log)
"""
_CHUNK_BYTES = 1 << 18
_REFRESH_BYTES = 1 << 22


def backup(stack: Stack, folder: Path, say: Callable[[str], None]) -> Path:
    """Write a dump of the platform's database into `folder`; returns the file, whose whole content was read.

    Raises `LocalError`, `OSError`; then there is no new file.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"ratelimiter-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.dump"
    # mkstemp creates with mode 0600; under its name the file is there only when it is whole.
    descriptor, unfinished = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb+") as file:
            with stack.snapshot() as snapshot:
                dump(stack, snapshot, file)
                [[keys, revoked, tiers, requests]] = snapshot.ask(_COUNTS)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            feed(stack, file, "checking", "pg_restore", "--file=/dev/null")
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    say(f"{keys} keys ({revoked} revoked), {tiers} tiers, {requests} rows of the log; {size / 1e6:,.1f} MB")
    return path


def dump(stack: Stack, snapshot: Snapshot, file: IO[bytes]) -> None:
    """Write what a snapshot shows into a file. Raises `LocalError`."""
    arguments = (
        "--format=custom",
        f"--snapshot={snapshot.name}",
        f"--dbname={stack.database}",
        "--exclude-table-data=django_session",
        "--exclude-table-data=axes_*",  # who waits after failed logins: over before anybody restores
    )
    with (
        tempfile.TemporaryFile() as complaint,
        stack.start("pg_dump", *arguments, stderr=complaint) as program,
    ):
        if program.stdout is not None:
            transfer(program.stdout, file, "dumping")
        program.wait()
        show("")
        complaint.seek(0)
        require_success(program, "pg_dump", complaint.read())


def feed(stack: Stack, file: IO[bytes], title: str, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs with a file as its input. Raises `LocalError`."""
    file.seek(0)
    with (
        tempfile.TemporaryFile() as complaint,
        stack.start(
            program, *arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaint
        ) as process,
    ):
        try:
            if process.stdin is not None:
                transfer(file, process.stdin, title, os.fstat(file.fileno()).st_size)
                process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        process.wait()  # the indexes are made now
        show("")
        complaint.seek(0)
        require_success(process, program, complaint.read())


def transfer(source: IO[bytes], sink: IO[bytes], title: str, total: int | None = None) -> None:
    """Copy bytes, and show on a terminal how far it is."""
    of = f" of {total / 1e6:,.1f}" if total else ""
    done = shown = 0
    while chunk := source.read(_CHUNK_BYTES):
        sink.write(chunk)
        done += len(chunk)
        if done - shown >= _REFRESH_BYTES:
            shown = done
            show(f"  {title}  {done / 1e6:,.1f}{of} MB")
    show(f"  {title}  {done / 1e6:,.1f}{of} MB, finishing")


def show(text: str) -> None:
    """Put `text` in the place of the terminal's last line; without a terminal nothing is shown."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def say(text: str) -> None:
    """Tell whoever called; stdout is for the file's name alone."""
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Back up the stack that runs; the last line on stdout is the file."""
    folder = Path(os.environ.get("BACKUP_DIR") or PROJECT / "backups").absolute()
    try:
        with StopSignals():
            path = backup(find(os.environ), folder, say)
    except StopRequested as stop:
        sys.exit(stop.exit_code)
    except (LocalError, OSError) as exc:
        sys.exit(f"Error: there is no backup: {exc}")
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
