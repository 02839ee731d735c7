"""Where and with what the measurement was made."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str | int | float]:
    """The machine's size."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Python, wrk, and every installed package."""
    packages = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return {"python": platform.python_version(), "wrk": _wrk(), **dict(sorted(packages.items()))}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _wrk() -> str:
    shown = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607  # wherever the system keeps it
    words = shown.split()
    return words[1] if len(words) > 1 else "unknown"
