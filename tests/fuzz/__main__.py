"""``make fuzz``: schemathesis for minutes, then every property thousands of times."""

import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from tests.runs import running
from tests.servers import PROJECT

from .openapi import complaints, fuzz

PROPERTIES = ("-m", "hypothesis", "--hypothesis-profile=fuzz", "--timeout=1800")


def main(
    seconds: Annotated[int, typer.Option(help="How long schemathesis asks.")] = 300,
    seed: Annotated[int | None, typer.Option(help="That of a run to repeat.")] = None,
) -> None:
    """Fuzz; the exit code is 1 if anything was found."""
    seed = secrets.randbits(32) if seed is None else seed
    print(f"seed {seed}; to repeat this run: make fuzz FUZZ_OPTIONS='--seed {seed}'", flush=True)  # noqa: T201  # a program
    found = _api(seed, seconds) | _properties(seed)
    print(f"seed {seed}: {'something was found' if found else 'nothing was found'}")  # noqa: T201  # the same
    sys.exit(found)


def _api(seed: int, seconds: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="ratelimiter-fuzz-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder) / "state", WEB_CONCURRENCY="2") as run:
            platform = run.wait_until_up() | {"LOCAL_DIR": str(run.state)}
            code = fuzz(platform, seed, "--max-time", str(seconds), "--continue-on-failure")
            errors = complaints(platform)
    print(*errors, sep="\n")  # noqa: T201  # the same
    return code != 0 or bool(errors)


def _properties(seed: int) -> bool:
    command = (sys.executable, "-m", "pytest", *PROPERTIES, f"--hypothesis-seed={seed}")
    return subprocess.run(command, cwd=PROJECT, check=False).returncode != 0


if __name__ == "__main__":
    typer.run(main)
