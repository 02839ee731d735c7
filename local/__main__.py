"""The command line: `python -m local run`."""

import signal
from pathlib import Path
from typing import Annotated

# Until the run takes over the signals, Ctrl-C ends us at once: no traceback out of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402 -- for the reason above
import typer
from rich.console import Console

from local.errors import LocalError
from local.run import Options
from local.run import run as run_platform
from local.steps import Steps

_PROJECT = Path(__file__).resolve().parent.parent

# No pretty tracebacks: they print local variables, and some of those are secrets.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """The embedded stack of the rate-limit platform."""


@app.command()
def run(
    api_port: Annotated[int, typer.Option(envvar="API_PORT", min=1, max=65535)] = 8000,
    admin_port: Annotated[int, typer.Option(envvar="ADMIN_PORT", min=1, max=65535)] = 8001,
    local_dir: Annotated[
        Path, typer.Option(envvar="LOCAL_DIR", help="Where data, logs and secrets are kept.")
    ] = (_PROJECT / ".local"),
) -> None:
    """Start PostgreSQL, Redis, the API and the admin, and keep them running until Ctrl-C.

    PostgreSQL is not started if DATABASE_URL (and API_DATABASE_URL) is set, nor Redis if REDIS_URL is.
    """
    options = Options(_PROJECT, local_dir.absolute(), api_port, admin_port)
    try:
        code = run_platform(options, Steps(Console()))
    except (LocalError, OSError) as exc:
        typer.secho(f"Error: {exc}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from exc
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m local")
