"""``GET /metrics``: requests by view, and what the server's processes use, for Prometheus.

The workers share their counts through files in ``PROMETHEUS_MULTIPROC_DIR`` (see ``startup``), so
whichever of them answers speaks for all. Labels are bounded: names of views and templates, statuses,
HTTP's methods; never a path or an id.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_prometheus.middleware import PrometheusAfterMiddleware  # type: ignore[import-untyped]
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_ENDED_CPU: Final = slice(13, 15)
"""cutime and cstime of /proc/<pid>/stat (proc_pid_stat(5)), counted from the field behind the name."""


@login_not_required
@never_cache
@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """The metrics of all workers, in Prometheus's text format.

    Without a login, so meant for the private network: the proxy in front must not forward this path.
    """
    registry = CollectorRegistry()
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # not typed there
        registry.register(Processes(os.getppid()))
    else:
        registry.register(REGISTRY)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class ViewMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # not typed there
    """The library's metrics by view, with whatever HTTP does not define as one method."""

    def label_metric(self, metric: Any, request: HttpRequest, response: Any = None, **labels: str) -> Any:
        """The labelled metric; the library bounds the method in all of its metrics but the latency."""
        if "method" in labels:
            labels["method"] = self._method(request)
        return super().label_metric(metric, request, response, **labels)


class Processes(Collector):
    """CPU, memory and open files of gunicorn's processes together, which multiprocess mode does not give."""

    def __init__(self, master_pid: int) -> None:
        self._master = Path(f"/proc/{master_pid}")

    def collect(self) -> Iterable[Metric]:
        """One sum for each; nothing where there is no /proc."""
        try:
            pids, ended_cpu_seconds = self._pids(), self._ended_cpu_seconds()
        except OSError:
            return
        sums: dict[str, float] = defaultdict(float)
        for pid in pids:
            for metric in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                sums[metric.name] += metric.samples[0].value
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "CPU time of all processes, of the ended ones too.",
            sums["process_cpu_seconds"] + ended_cpu_seconds,
        )
        yield GaugeMetricFamily(
            "process_resident_memory_bytes",
            "Resident memory of all processes; what they share counts in each.",
            sums["process_resident_memory_bytes"],
        )
        yield GaugeMetricFamily("process_open_fds", "Open files of all processes.", sums["process_open_fds"])

    def _pids(self) -> list[str]:
        # The kernel's list, not that of the shared files: an idle worker has none yet, a dead one's stay.
        return [
            self._master.name,
            *(self._master / "task" / self._master.name / "children").read_text().split(),
        ]

    def _ended_cpu_seconds(self) -> float:
        # Without them the sum would fall when a worker ends, and a rate would take that for a reset.
        fields = (self._master / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[_ENDED_CPU])) / os.sysconf("SC_CLK_TCK")
