"""``/health``, ``/health/live`` and ``/metrics``."""

import asyncio
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response, Security
from fastapi.responses import PlainTextResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ratelimiter.health import Probe, Probes
from ratelimiter.keys.tokens import Scope
from ratelimiter.metrics import HAND_ON_SECONDS
from ratelimiter.request_log.bound import Memory
from ratelimiter.request_log.outbox import Backlog

from .authorization import Authorizer
from .schemas import Check, HealthAnswer, Live

WORKERS_HAND_ON_SECONDS: Final = 10 * HAND_ON_SECONDS
"""A scrape waits so long for what the workers have counted, so that what was answered before it shows."""
MAX_LAG_SECONDS: Final = 30.0
"""A log whose oldest record has waited longer makes the service degraded."""


def make_router(probes: Probes, authorizer: Authorizer | None) -> APIRouter:
    """The routes that tell how the service is; with an authorizer ``/metrics`` asks for a token."""
    scrape = [Security(authorizer.or_from_memory, scopes=[Scope.METRICS_READ])] if authorizer else []
    router = APIRouter(tags=["health"])

    @router.get("/health", responses={503: {"model": HealthAnswer}}, response_model_exclude_none=True)
    async def health(response: Response) -> HealthAnswer:
        """How the service is; 503 only when neither Redis nor PostgreSQL answers.

        Without one of them it is degraded: decisions go on, as each tier chose where it is Redis.
        """
        redis, postgres, backlog = await asyncio.gather(probes.redis(), probes.postgres(), probes.backlog())
        checks = {
            "redis": _check(redis),
            "postgres": _check(postgres),
            "request_log": _check_log(backlog),
        }
        if not (redis.answered or postgres.answered):
            response.status_code = 503
            return HealthAnswer(status="down", checks=checks)
        well = all(check.status == "ok" for check in checks.values())
        return HealthAnswer(status="ok" if well else "degraded", checks=checks)

    @router.get("/health/live")
    async def live() -> Live:
        """Whether the process runs."""
        return Live()

    @router.get("/metrics", response_class=PlainTextResponse, dependencies=scrape)
    async def metrics() -> Response:
        """The metrics of all workers, in Prometheus's format."""
        redis, memory, postgres, backlog, active, _ = await asyncio.gather(
            probes.redis(),
            probes.memory(),
            probes.postgres(),
            probes.backlog(),
            probes.active_keys(),
            asyncio.sleep(WORKERS_HAND_ON_SECONDS),
        )
        registry = CollectorRegistry()
        registry.register(_Gauges(redis, memory, postgres, backlog, active))
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if directory:
            MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]  # not typed there
            registry.register(_Processes(Path(directory)))
        else:
            registry.register(REGISTRY)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _check(probe: Probe) -> Check:
    if probe.answered:
        return Check(status="ok", latency_ms=probe.latency_ms)
    return Check(status="down")


def _check_log(probe: Probe) -> Check:
    if not probe.answered:
        return Check(status="down")
    backlog: Backlog = probe.value
    return Check(
        status="ok" if backlog.lag_seconds <= MAX_LAG_SECONDS else "lagging",
        latency_ms=probe.latency_ms,
        backlog=backlog.records,
        lag_seconds=round(backlog.lag_seconds, 1),
    )


class _Gauges(Collector):
    """The gauges of this scrape; what could not be asked is left out rather than guessed."""

    def __init__(self, redis: Probe, memory: Probe, postgres: Probe, backlog: Probe, active: Probe) -> None:
        self._redis, self._memory = redis, memory
        self._postgres, self._backlog, self._active = postgres, backlog, active

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "redis_up", "Whether Redis takes writes (1) or not (0).", self._redis.answered
        )
        yield GaugeMetricFamily(
            "postgres_up", "Whether PostgreSQL answers (1) or not (0).", self._postgres.answered
        )
        if self._memory.answered:
            yield from _memory_gauges(self._memory.value)
        if self._backlog.answered:
            yield GaugeMetricFamily(
                "request_log_backlog",
                "Records that wait to be copied into PostgreSQL.",
                self._backlog.value.records,
            )
            yield GaugeMetricFamily(
                "request_log_lag_seconds",
                "How long the oldest record has waited to be copied; 0 when none waits.",
                self._backlog.value.lag_seconds,
            )
        if self._active.answered:
            keys = GaugeMetricFamily(
                "active_api_keys", "Keys that may be used now, by tier.", labels=["tier"]
            )
            for tier, count in self._active.value.items():
                keys.add_metric([tier], count)
            yield keys


def _memory_gauges(memory: Memory) -> Iterable[Metric]:
    # As redis_exporter names them.
    yield GaugeMetricFamily("redis_memory_used_bytes", "Memory that Redis uses.", memory.used)
    yield GaugeMetricFamily("redis_memory_max_bytes", "Redis's maxmemory; 0: no limit.", memory.max)
    if memory.stream_max:
        yield GaugeMetricFamily(
            "request_log_stream_fill_ratio",
            "How much of its bound the fullest stream takes; above 1 its oldest records are dropped.",
            memory.stream / memory.stream_max,
        )


class _Processes(Collector):
    """CPU and memory of the server's processes together, which multiprocess mode does not give.

    They are the workers and the drain, known by the files they keep in the multiprocess directory.
    """

    _NAMES: Final = frozenset({"process_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"})

    def __init__(self, directory: Path) -> None:
        self._pids = {path.stem.rpartition("_")[2] for path in directory.glob("*.db")}

    def collect(self) -> Iterable[Metric]:
        totals: dict[str, Metric] = {}
        for pid in sorted(self._pids):
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                if metric.name not in self._NAMES:
                    continue
                total = totals.setdefault(metric.name, metric)
                if total is not metric:
                    summed = total.samples[0].value + metric.samples[0].value
                    total.samples[0] = total.samples[0]._replace(value=summed)
        return totals.values()
