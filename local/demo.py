"""`make demo`: a tour of two minutes on the terminal, through the public door of a platform that runs.

It starts a platform of its own and leaves nothing behind. Every answer that it shows was given by the API.
In the end it counts them against the log: if they differ, the demo fails.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from local import apart, environment
from local.errors import LocalError
from local.signals import StopRequested, StopSignals
from local.stage import Stage
from local.steps import Steps
from local.tour import Tour


@dataclass(frozen=True)
class Options:
    """`hurried`: no motion and no pauses. `state`: the folder of a platform that runs; None starts one."""

    hurried: bool
    state: Path | None


def demo(options: Options, console: Console) -> int:
    """Play the tour. Returns the exit code; a stop that is asked for (Ctrl-C) is no failure.

    Raises `LocalError` when there is no platform, or the log does not agree with the answers.
    """
    stage = Stage(console, hurried=options.hurried)
    try:
        with StopSignals(), ExitStack() as stack:
            stage.title(
                "Rate limiter: API keys and exact limits",
                "A tour of two minutes. Every answer comes from a platform that runs.\n"
                + (
                    "Ctrl-C ends it, and nothing is left behind."
                    if options.state is None
                    else "Ctrl-C ends it."
                ),
            )
            if options.state is None:
                with Steps(console).step("PostgreSQL, Redis, two API workers and the admin"):
                    values = stack.enter_context(apart.platform(WEB_CONCURRENCY="2")).values
            else:
                values = _running(options.state)
            client = stack.enter_context(httpx.Client(base_url=values["API_URL"], trust_env=False))
            Tour(stage, client, values).play()
    except StopRequested:
        Steps(console).line("The tour was ended.")
    except httpx.HTTPError as exc:
        raise LocalError(f"The API did not answer as it should: {exc}") from exc
    return 0


def _running(state: Path) -> Mapping[str, str]:
    values = environment.load(state / "env")
    if not {"API_URL", "ADMIN_API_TOKEN", "DATABASE_URL"} <= values.keys():
        raise LocalError(f"No platform has run in {state}: there is no file `env` that names its addresses.")
    return values
