"""Hourly usage and the audit trail: large, and, like the request log, only looked at."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_manager.admin import paginator, usage
from api_manager.admin.paginator import EstimatedPaginator
from api_manager.models import APIKey, AuditEvent, EndpointHourly, RequestLog, UsageHourly

LOG = "/admin/api_manager/requestlog/"
USAGE = "/admin/api_manager/usagehourly/"
AUDIT = "/admin/api_manager/auditevent/"


def log(key: APIKey, number: int, **fields) -> None:
    now = timezone.now()
    RequestLog.objects.bulk_create(
        RequestLog(
            **{"api_key": key, "endpoint": "/v1/orders", "status_code": 200, "cost": 1, "remaining": 5}
            | {"client_ip": "10.0.0.1", "timestamp": now - timedelta(seconds=index)}
            | fields
        )
        for index in range(number)
    )


def rows(site: Client, query: str, url: str) -> int:
    response = site.get(f"{url}?{query}")
    assert response.status_code == 200, response.headers
    return response.context["cl"].result_count


@pytest.mark.parametrize("url", [LOG, USAGE, AUDIT])
def test_nothing_is_added_changed_or_deleted(site: Client, issue, url):
    key = issue().key
    log(key, 1)
    usage = UsageHourly.objects.create(api_key=key, hour=timezone.now(), endpoint="/")
    ids = {LOG: RequestLog.objects.get().pk, USAGE: usage.pk, AUDIT: AuditEvent.objects.get().pk}
    assert site.get(f"{url}add/").status_code == 403
    assert site.post(f"{url}add/", {}).status_code == 403
    assert site.get(f"{url}{ids[url]}/change/").status_code == 200
    assert site.post(f"{url}{ids[url]}/change/", {"cost": "9"}).status_code == 403
    assert site.post(f"{url}{ids[url]}/delete/", {"post": "yes"}).status_code == 403
    site.post(url, {"action": "delete_selected", "_selected_action": [ids[url]], "post": "yes"})
    assert RequestLog.objects.count() == UsageHourly.objects.count() == AuditEvent.objects.count() == 1


def test_a_long_list_takes_few_queries(site: Client, issue):
    for number in range(5):
        key = issue(f"k{number}").key
        for hour in range(30):
            moment = timezone.now() - timedelta(hours=hour)
            UsageHourly.objects.create(api_key=key, hour=moment, endpoint="/")
    with CaptureQueriesContext(connection) as captured:
        assert rows(site, "", USAGE) == 150
    assert len(captured) <= 12


def test_a_large_table_is_estimated_and_never_counted(site: Client, issue, monkeypatch):
    monkeypatch.setattr(paginator, "EXACT_UP_TO", 50)
    monkeypatch.setattr(paginator, "MAX_PAGES", 2)
    key = issue().key
    UsageHourly.objects.bulk_create(
        UsageHourly(api_key=key, hour=timezone.now() - timedelta(hours=hour), endpoint="/")
        for hour in range(300)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_hourly")
    with CaptureQueriesContext(connection) as captured:
        page = site.get(USAGE)
    assert 250 <= page.context["cl"].result_count <= 350
    assert page.context["cl"].paginator.num_pages == 2
    assert not [query for query in captured if "COUNT(" in query["sql"] and "usage_hourly" in query["sql"]]


def test_a_count_that_takes_long_is_given_up(db, issue, monkeypatch):
    monkeypatch.setattr(paginator, "COUNT_TIMEOUT_MS", 20)
    log(issue().key, 3)
    slow = RequestLog.objects.extra(where=["pg_sleep(0.2) IS NOT NULL"])
    pages = EstimatedPaginator(slow, 100)
    assert pages.count >= 1
    assert pages.is_estimate
    assert EstimatedPaginator(RequestLog.objects.all(), 100).count == 3


def test_the_counts_of_facets_are_not_to_be_had(site: Client, issue):
    UsageHourly.objects.create(api_key=issue().key, hour=timezone.now(), endpoint="/")
    with CaptureQueriesContext(connection) as captured:
        assert "Show counts" not in site.get(f"{USAGE}?_facets=True").text
    assert not [query for query in captured if "FILTER (WHERE" in query["sql"]]


def test_usage_is_filtered_by_tier_hour_and_key(site: Client, issue):
    free, pro = issue("alpha").key, issue("beta", "pro").key
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    UsageHourly.objects.create(api_key=free, hour=hour, endpoint="/a", allowed=1, limited=2, cost=3)
    UsageHourly.objects.create(api_key=pro, hour=hour - timedelta(days=60), endpoint="/b", allowed=1)
    assert rows(site, "", USAGE) == 2
    assert rows(site, f"api_key__tier__id__exact={pro.tier_id}", USAGE) == 1
    assert rows(site, urlencode({"hour__gte": hour}), USAGE) == 1
    assert rows(site, f"api_key={free.pk}", USAGE) == rows(site, "q=alph", USAGE) == 1


def test_usage_of_an_endpoint_is_found_where_all_keys_have_it_or_too_many(site: Client, issue):
    key, hour = issue().key, timezone.now().replace(minute=0, second=0, microsecond=0)
    for ago, counted_as in ((1, "/rare"), (2, "(other)"), (3, "/else")):
        then = hour - timedelta(hours=ago)
        EndpointHourly.objects.create(hour=then, endpoint=counted_as, allowed=1)
        UsageHourly.objects.create(api_key=key, hour=then, endpoint="/rare" if ago < 3 else "/else")
    assert rows(site, "endpoint=/rare", USAGE) == 2
    assert rows(site, "endpoint=/else", USAGE) == 1
    assert rows(site, "endpoint=/nothing", USAGE) == 0


def test_usage_is_searched_by_each_word_of_a_keys_name(site: Client, issue, monkeypatch):
    for name in ("alpha one", "alpha two", "beta one"):
        UsageHourly.objects.create(api_key=issue(name).key, hour=timezone.now(), endpoint="/")
    for most in (1_000, 1):
        monkeypatch.setattr(usage, "_MOST_KEYS", most)
        assert [rows(site, f"q={words}", USAGE) for words in ("alpha", "one+alpha", "gamma")] == [2, 1, 0]


def test_the_audit_trail_says_what_changed(site: Client, issue):
    key = issue().key
    AuditEvent.objects.create(
        actor="api:token",
        action="updated",
        target_type="key",
        target_id=key.pk,
        detail={"changed": {"burst": [None, 7]}, "reason": "odd <b>", "list": [1]},
    )
    page = site.get(AUDIT).text
    assert "burst: – → 7" in page
    assert "odd &lt;b&gt;" in page
    assert rows(site, "action=created", AUDIT) == rows(site, "action__exact=created", AUDIT)
    assert rows(site, "q=api:token", AUDIT) == 1
    assert rows(site, f"q={key.pk}", AUDIT) == 2


def test_the_audit_trail_shows_what_was_done_to_the_whole_database(site: Client):
    AuditEvent.objects.create(
        actor="command:restore",
        action="restored",
        target_type="database",
        target_id=0,
        detail={"file": "x.dump"},
    )
    page = site.get(AUDIT).text
    assert "x.dump" in page
    assert rows(site, "target_type=database", AUDIT) == rows(site, "action=restored", AUDIT) == 1
