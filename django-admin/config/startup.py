"""How a process of this service starts, or stops with one clear line."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def load_settings() -> None:
    """Reads the settings; a wrong or missing one ends the process with one line that names it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018  # the first access reads them all
    except ImproperlyConfigured as exc:
        sys.exit(f"Cannot start: {exc}.")
