"""`make watch`: Prometheus beside a running `make run`, until Ctrl-C."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlencode

import httpx

from local import environment
from local.errors import LocalError
from local.ports import require_free
from local.prometheus import Prometheus, require_program
from local.signals import StopRequested, StopSignals
from local.steps import Steps

_HTTP_SECONDS = 3.0
_POLL_SECONDS = 0.1
_QUERIES = {
    "Decisions a second": "sum by (tier, outcome) (job:rate_limit_decisions:rate1m)",
    "Share of denials": "job:rate_limit_limited:ratio5m",
    "99th percentile": "job:request_duration_seconds:p99_5m",
}


@dataclass(frozen=True)
class Options:
    """Where the platform lives (the project, its state folder), and Prometheus's port on 127.0.0.1."""

    project: Path
    state: Path
    port: int


def watch(options: Options, steps: Steps) -> int:
    """Run Prometheus until a stop is asked for. Returns the exit code: 0, or 128 + signal if it was not up.

    It goes on when the platform stops, since that is when alerts fire. Raises `LocalError` when there is no
    platform or no Prometheus, or when Prometheus ends; nothing is left running.
    """
    require_program()
    targets = _targets(options.state)
    require_free(options.port, "PROMETHEUS_PORT", command="make watch")
    folder = options.state / "prometheus"
    prometheus = Prometheus(folder, options.project, targets, log=options.state / "log" / "prometheus.log")
    is_up = False
    try:
        try:
            with StopSignals():
                with steps.step("Prometheus"):
                    prometheus.start(options.port)
                is_up = True
                _greet(prometheus.url, folder, steps)
                _wait(prometheus)
        finally:
            prometheus.stop()
    except StopRequested as stop:
        steps.line("Prometheus is stopped.")
        return 0 if is_up else stop.exit_code


def _targets(state: Path) -> dict[str, str]:
    """The addresses of the platform on `state`. Raises `LocalError` when it does not run."""
    values = environment.load(state / "env")
    try:
        admin = values["ADMIN_URL"]
        targets = {"api": values["API_URL"], "admin": admin, "notices": f"{admin}/metrics/notices"}
        httpx.get(f"{targets['api']}/health/live", timeout=_HTTP_SECONDS, trust_env=False).raise_for_status()
    except (KeyError, httpx.HTTPError) as exc:
        raise LocalError(f"No platform is running on {state}; start it first: make run") from exc
    return targets


def _greet(url: str, folder: Path, steps: Steps) -> None:
    for text in (
        "",
        f"  Prometheus  {url}",
        f"  Targets     {_page(url, 'targets')}",
        f"  Alerts      {_page(url, 'alerts')}",
        "",
    ):
        steps.line(text)
    for title, query in _QUERIES.items():
        parameters = urlencode({"g0.expr": query, "g0.tab": 0, "g0.range_input": "15m"})
        steps.line(f"  {title:<20}{url}/graph?{parameters}")
    steps.line()
    steps.line(f"Ctrl-C stops it. Its data stay in {folder}")


def _page(url: str, name: str) -> str:
    """Debian's build has its pages in another place."""
    found = httpx.get(f"{url}/{name}", trust_env=False).status_code == httpx.codes.OK
    return f"{url}/{name}" if found else f"{url}/classic/{name}"


def _wait(prometheus: Prometheus) -> NoReturn:
    child = prometheus.child
    while child is not None and child.alive:
        time.sleep(_POLL_SECONDS)
    how = child.how_it_ended() if child is not None else "was not started"
    raise LocalError(f"Prometheus {how}; log {prometheus.log}")
