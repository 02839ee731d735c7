"""``GET /health``: whether the service can work, for load balancers and whoever is on call."""

import math
import select
import time
from typing import Final

import psycopg2
import structlog
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from psycopg2 import extensions

DEADLINE_SECONDS: Final = 2.0

logger = structlog.get_logger(__name__)


@login_not_required
@never_cache
@require_safe
def health(_request: HttpRequest) -> JsonResponse:
    """``{status, checks: {postgres: {status, latency_ms}}}``; 503 when PostgreSQL does not answer in time."""
    started = time.monotonic()
    try:
        ping(DEADLINE_SECONDS)
        status = "ok"
    except (psycopg2.Error, TimeoutError) as exc:
        logger.warning("postgres_unreachable", reason=" ".join(str(exc).split()))
        status = "down"
    latency_ms = round((time.monotonic() - started) * 1000, 2)
    checks = {"postgres": {"status": status, "latency_ms": latency_ms}}
    return JsonResponse({"status": status, "checks": checks}, status=200 if status == "ok" else 503)


def ping(timeout_seconds: float) -> None:
    """Connects to PostgreSQL anew and has it answer a query.

    A connection of its own that never blocks, because a server that is frozen or cut off lets an
    ordinary one wait for ever. Raises ``psycopg2.Error`` or ``TimeoutError``.
    """
    deadline = time.monotonic() + timeout_seconds
    parameters = connection.get_connection_params() | {"connect_timeout": math.ceil(timeout_seconds)}
    probe = psycopg2.connect(**parameters, async_=True)
    try:
        _wait(probe, deadline)
        cursor = probe.cursor()
        cursor.execute("SELECT 1")
        _wait(probe, deadline)
    finally:
        probe.close()


def _wait(probe: extensions.connection, deadline: float) -> None:
    while (state := probe.poll()) != extensions.POLL_OK:
        readers = [probe] if state == extensions.POLL_READ else []
        writers = [probe] if state == extensions.POLL_WRITE else []
        if not any(select.select(readers, writers, [], max(0.0, deadline - time.monotonic()))):
            raise TimeoutError("no answer in time")
