"""The command line: `python -m local run`, `python -m local watch`."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

# Until the run takes over the signals, Ctrl-C ends us at once: no traceback out of an import.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# ruff: noqa: E402 -- for the reason above
import typer
from rich.console import Console

from local.demo import Options as DemoOptions
from local.demo import demo as play_demo
from local.errors import LocalError
from local.run import Options
from local.run import run as run_platform
from local.steps import Steps
from local.watch import Options as WatchOptions
from local.watch import watch as watch_platform

_PROJECT = Path(__file__).resolve().parent.parent

_LOCAL_DIR = _PROJECT / ".local"
_LocalDir = Annotated[Path, typer.Option(envvar="LOCAL_DIR", help="Where data, logs and secrets are kept.")]

# No pretty tracebacks: they print local variables, and some of those are secrets.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """The embedded stack of the rate-limit platform."""


@app.command()
def run(
    api_port: Annotated[int, typer.Option(envvar="API_PORT", min=1, max=65535)] = 8000,
    admin_port: Annotated[int, typer.Option(envvar="ADMIN_PORT", min=1, max=65535)] = 8001,
    local_dir: _LocalDir = _LOCAL_DIR,
    *,
    send_notices: Annotated[bool, typer.Option(envvar="SEND_NOTICES", help="Tell webhooks.")] = True,
) -> None:
    """Start PostgreSQL, Redis, the API and the admin, and keep them running until Ctrl-C.

    PostgreSQL is not started if DATABASE_URL (and API_DATABASE_URL) is set, nor Redis if REDIS_URL is.
    """
    options = Options(_PROJECT, local_dir.absolute(), api_port, admin_port, send_notices)
    _exit_with(lambda: run_platform(options, Steps(Console())))


@app.command()
def watch(
    port: Annotated[int, typer.Option(envvar="PROMETHEUS_PORT", min=1, max=65535)] = 9090,
    local_dir: _LocalDir = _LOCAL_DIR,
) -> None:
    """Start Prometheus beside a running platform, and keep it running until Ctrl-C."""
    options = WatchOptions(_PROJECT, local_dir.absolute(), port)
    _exit_with(lambda: watch_platform(options, Steps(Console())))


@app.command()
def demo(
    *,
    fast: Annotated[bool, typer.Option("--fast", help="No motion and no pauses.")] = False,
    on: Annotated[
        Path | None, typer.Option(help="Play on the platform that runs in this folder, not on one apart.")
    ] = None,
) -> None:
    """Show in two minutes what the platform does, on one that is started for it and gone afterwards."""
    options = DemoOptions(hurried=fast, state=on.absolute() if on else None)
    _exit_with(lambda: play_demo(options, Console()))


def _exit_with(work: Callable[[], int]) -> NoReturn:
    """End with the exit code that `work` returns, or with its error in one line."""
    try:
        code = work()
    except (LocalError, OSError) as exc:
        typer.secho(f"Error: {exc}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from exc
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m local")
