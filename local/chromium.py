"""The Chromium of this machine, for pictures and for tests; Playwright brings none of its own here."""

import shutil
from typing import Final

OPTIONS: Final = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def executable() -> str | None:
    """Its path, under whichever name it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
