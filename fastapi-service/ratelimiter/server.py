"""Starts the API: ``python -m ratelimiter.server``.

It reads the settings, gives all processes an empty folder for their metrics, starts the drain and
runs uvicorn with its workers.
"""

import os
import resource
import shutil
import signal
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn

from . import logs
from .settings import Settings, load_settings

OPTIONS: Final[dict[str, Any]] = {
    "loop": "uvloop",
    "ws": "none",
    "access_log": False,
    "log_config": None,
    "server_header": False,
    "backlog": 2048,
    "timeout_graceful_shutdown": 3,
    # A worker that takes long to start on a busy machine is not hung, and must not end a rolling restart.
    "timeout_worker_healthcheck": 30,
}
"""uvicorn's, but for what the settings say."""
OTHER_FILES: Final = 512
"""What a worker opens besides its clients' connections: its own to Redis and PostgreSQL, metrics, modules."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


def main() -> None:
    """Serve until SIGTERM or SIGINT; what is in flight is answered first."""
    settings = load_settings(Settings)
    logs.configure(settings.log_level)
    # uvicorn stops in good order and then raises the signal again, which by default would end this
    # process before the drain is stopped and the folder removed.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: sys.exit(0))
    with ExitStack() as at_the_end:
        folder = _empty_folder()
        at_the_end.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        if settings.request_log_drain:
            at_the_end.enter_context(_drain_process())
        # What is left to do is short, and nobody may cut it off.
        at_the_end.callback(_ignore_signals)
        uvicorn.run(
            "main:app",
            host=settings.api_host,
            port=settings.api_port,
            workers=settings.web_concurrency,
            http=_protocol(settings),
            forwarded_allow_ips=settings.forwarded_allow_ips,
            **OPTIONS,
        )


def _protocol(settings: Settings) -> Any:
    """What uvicorn makes for each connection; each worker gets a copy, and so a sweep of its own."""
    from .http_limits import HttpLimits, LimitedProtocol, Sweep  # noqa: PLC0415  # as for the drain's

    files = _allow_open_files(settings.http_connections + OTHER_FILES)
    limits = HttpLimits(
        header_bytes=settings.http_header_bytes,
        header_seconds=settings.http_header_seconds,
        idle_seconds=settings.http_idle_seconds,
        connections=max(1, min(settings.http_connections, files - OTHER_FILES)),
    )
    log.info("http_limits", open_files=files, **asdict(limits))
    return partial(LimitedProtocol, sweep=Sweep(limits))


def _allow_open_files(wanted: int) -> int:
    """Let this process and its workers open as many files as the system allows; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def _drain_process() -> AbstractContextManager[None]:
    """One drain for all the workers, which start none then: they read their settings after this."""
    os.environ["REQUEST_LOG_DRAIN"] = "false"
    from .request_log.process import drain_process  # noqa: PLC0415  # prometheus_client looks once for its folder

    return drain_process()


def _ignore_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _empty_folder() -> Path:
    """Where all processes keep their metrics: the folder that is named, wiped, else a new one."""
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not named:
        return Path(tempfile.mkdtemp(prefix="ratelimiter-metrics-"))
    folder = Path(named)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()
    return folder


if __name__ == "__main__":
    main()
