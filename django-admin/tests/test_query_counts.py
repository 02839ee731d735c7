from datetime import timedelta

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_manager import keys, webhooks
from api_manager.audit import Actor
from api_manager.models import (
    EndpointHourly,
    KeyLimit,
    RequestLog,
    TierLimit,
    UsageDaily,
    UsageHourly,
    UsageMinutely,
    Webhook,
)

MANAGER = "/admin/api_manager"
LOG = f"{MANAGER}/requestlog/"
USAGE = f"{MANAGER}/usagehourly/"
KEYS = f"{MANAGER}/apikey/"
AUDIT = f"{MANAGER}/auditevent/"

MOST = {
    "/admin/?range=1h": 16,
    "/admin/?range=24h": 16,
    "/admin/?range=7d": 16,
    "/admin/?range=30d": 16,
    KEYS: 7,
    f"{KEYS}?status=active&tier__id__exact=1": 7,
    f"{KEYS}?attention=unused&o=-8": 7,
    f"{KEYS}?q=key": 8,
    f"{KEYS}find/": 3,
    f"{KEYS}add/": 5,
    f"{KEYS}{{key}}/change/?range=1h": 13,
    f"{KEYS}{{key}}/change/?range=30d": 13,
    f"{KEYS}{{key}}/edit/": 9,
    f"{KEYS}{{key}}/rotate/": 5,
    f"{KEYS}{{key}}/history/": 5,
    LOG: 10,
    f"{LOG}?range=1h": 10,
    f"{LOG}?range=30d&api_key={{key}}": 11,
    f"{LOG}?range=30d&api_key=key": 11,
    f"{LOG}?range=30d&endpoint=/nothing": 10,
    f"{LOG}?range=30d&status_code=5xx&client_ip=192.0.2.0/24": 10,
    f"{LOG}origins/?range=30d&api_key={{key}}": 10,
    f"{LOG}export/?range=30d": 4,
    USAGE: 11,
    f"{USAGE}?api_key={{key}}": 11,
    f"{USAGE}?endpoint=/v1/orders&api_key__tier__id__exact=1": 11,
    f"{USAGE}?q=key": 12,
    AUDIT: 10,
    f"{AUDIT}?target_type=key&target_id={{key}}": 10,
    f"{MANAGER}/tier/": 7,
    f"{MANAGER}/managementtoken/": 6,
    f"{MANAGER}/webhook/": 6,
    f"{MANAGER}/delivery/": 11,
    "/admin/auth/user/": 8,
    "/admin/auth/group/": 6,
}
"""Queries of each page, session and operator included."""
NAVIGATION = 1
"""Of every page beside these: how many suggestions wait."""


def _fill(issue, issue_token, first: int, last: int) -> int:
    """Keys, each with what there may be of one; the number of the last."""
    now = timezone.now()
    for number in range(first, last):
        key = issue(f"key-{number}", expires_at=now + timedelta(days=2)).key
        name = f"limit_{number}"
        TierLimit.objects.create(tier=key.tier, name=name, requests=10, window_seconds=60)
        KeyLimit.objects.create(api_key=key, name=name, requests=20)
        issue_token(f"token-{number}")
        EndpointHourly.objects.create(hour=now, endpoint=f"/v1/{number}", allowed=1)
        UsageHourly.objects.create(api_key=key, hour=now, endpoint="/v1/orders", allowed=1, limited=1)
        UsageMinutely.objects.create(api_key=key, minute=now, allowed=1, limited=1)
        UsageDaily.objects.create(api_key=key, day=now.date(), allowed=1, limited=1)
        RequestLog.objects.create(
            api_key=key, endpoint="/v1/orders", status_code=200, cost=1, client_ip="10.0.0.1", timestamp=now
        )
        hook = Webhook.objects.create(name=f"hook-{number}", url="https://example.com/", kinds=["key.quota"])
        webhooks.ping(hook.pk)
        key.note = "changed"
        keys.update(key, ["note"], Actor("test:fixture"))
    return key.pk


def _asked(site: Client, key: int) -> dict[str, int]:
    counts = {}
    for path in MOST:
        with CaptureQueriesContext(connection) as captured:
            assert site.get(path.format(key=key)).status_code == 200, path
        counts[path] = len(captured)
    return counts


def test_a_page_takes_few_queries_and_no_more_of_them_with_more_rows(site: Client, issue, issue_token):
    few = _asked(site, _fill(issue, issue_token, 0, 6))
    many = _asked(site, _fill(issue, issue_token, 6, 30))
    assert {path: count for path, count in many.items() if count > few[path]} == {}
    assert {path: count for path, count in many.items() if count > MOST[path] + NAVIGATION} == {}
