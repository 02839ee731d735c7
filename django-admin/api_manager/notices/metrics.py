"""``GET /metrics/notices``: what waits for webhooks, for Prometheus.

The figures are the log of deliveries itself, so they are right whichever process sends, and tell of a
sender that is gone. Apart from ``/metrics``, which needs no database.
"""

from typing import Final

from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

_WAITING: Final = """
    SELECT count(*) FILTER (WHERE attempts = 0), count(*) FILTER (WHERE attempts > 0),
        coalesce(extract(epoch FROM statement_timestamp() - min(next_attempt_at)), 0)
    FROM delivery JOIN webhook ON webhook.id = webhook_id
    WHERE status = 'pending' AND is_active
"""
_DEAD: Final = "SELECT count(*) FROM delivery WHERE status = 'dead'"


@login_not_required
@never_cache
@require_safe
def metrics(_request: HttpRequest) -> HttpResponse:
    """The state of deliveries, in Prometheus's text format; 500 while PostgreSQL is away."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        new, retried, overdue_seconds = cursor.fetchone()
        cursor.execute(_DEAD)
        [dead] = cursor.fetchone()
    registry = CollectorRegistry()
    deliveries = Gauge(
        "notice_deliveries", "Deliveries that are not done, by state.", ["state"], registry=registry
    )
    for state, count in (("new", new), ("retried", retried), ("dead", dead)):
        deliveries.labels(state).set(count)
    Gauge(
        "notice_delivery_overdue_seconds",
        "For how long the delivery that is due longest has been so; 0: none is.",
        registry=registry,
    ).set(max(0.0, float(overdue_seconds)))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
