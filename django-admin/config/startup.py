"""How a process of this service starts, or stops with one clear line."""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def load_settings() -> None:
    """Reads the settings; a wrong or missing one ends the process with one line that names it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018  # the first access reads them all
    except ImproperlyConfigured as exc:
        sys.exit(f"Cannot start: {exc}.")
    logging.captureWarnings(capture=True)


@cache  # gunicorn reads its configuration again at a reload, when workers are using the folder
def share_metrics() -> None:
    """Has the workers of this process share their metrics, in an empty ``PROMETHEUS_MULTIPROC_DIR``.

    That of the environment is made or wiped; without one it is a new folder, removed at the end. To be
    called before prometheus_client is imported, which looks for the variable once.
    """
    named = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if named:
        folder = Path(named)
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.db"):
            file.unlink()
        return
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-admin-metrics-"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: Path, owner_pid: int) -> None:
    if os.getpid() == owner_pid:  # the workers are forks, and end while others go on
        shutil.rmtree(folder, ignore_errors=True)
