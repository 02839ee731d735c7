"""Starts the API: ``python -m ratelimiter.server``.

It reads the settings, gives the workers an empty folder for their metrics, and runs uvicorn.
"""

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import uvicorn

from . import logs
from .settings import Settings, load_settings

SHUTDOWN_SECONDS = 3
BACKLOG = 2048


def main() -> None:
    """Serve until SIGTERM or SIGINT; what is in flight is answered first."""
    settings = load_settings(Settings)
    logs.configure(settings.log_level)
    # Before anything imports prometheus_client: it looks for the folder once.
    folder = _empty_folder()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    # uvicorn stops in good order and then raises the signal again, which by default would end this
    # process before the folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            "main:app",
            host=settings.api_host,
            port=settings.api_port,
            workers=settings.web_concurrency,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            forwarded_allow_ips=settings.forwarded_allow_ips,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty_folder() -> Path:
    """Where the workers keep their metrics: the folder that is named, wiped, else a new one."""
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
