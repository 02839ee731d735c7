"""Servers under measurement: that they run, that they answer, and a first request with each key."""

import time
from collections.abc import Sequence
from typing import Final

import httpx

from bench.errors import BenchError
from local.child import Child

_START_SECONDS: Final = 30.0


def process_id(child: Child | None) -> int:
    """The id of a process that should run. Raises `BenchError` with the end of its log when it does not."""
    if child is None or child.process is None or not child.alive:
        tail = child.last_lines() if child else ""
        raise BenchError(f"{child.name if child else 'It'} is not running.\n{tail}")
    return child.process.pid


def wait_until_up(child: Child, url: str) -> None:
    """Wait until a server answers anything. Raises `BenchError` with the end of its log when it does not."""
    deadline = time.monotonic() + _START_SECONDS
    while child.alive and time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False, timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise BenchError(f"{child.name} did not start:\n{child.last_lines()}")


def use_once(url: str, keys: Sequence[str], body: str = "") -> set[int]:
    """Send one request with each key, in turn; returns the statuses that came."""
    statuses = set()
    content = body.encode() or None
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for key in keys:
            headers = {"x-api-key": key} | ({"content-type": "application/json"} if body else {})
            statuses.add(client.post("/api/request", headers=headers, content=content).status_code)
    return statuses
