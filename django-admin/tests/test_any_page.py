"""Whatever stands in an address, a page of the admin answers it, and never with a failure."""

from urllib.parse import urlencode

import pytest
from django.contrib.admin import site as admin_site
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_manager.models import APIKey

LISTS = {
    model: reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    for model in admin_site._registry
}
KEYS = "/admin/api_manager/apikey/"
REQUESTS = "/admin/api_manager/requestlog/"
PAGES = [
    *LISTS.values(),
    "/admin/",
    "/admin/login/",
    "/admin/second-factor/",
    "/admin/autocomplete/",
    "/admin/search/",
    f"{REQUESTS}origins/",
    f"{REQUESTS}export/",
    f"{KEYS}add/",
    f"{KEYS}revoke/",
    f"{KEYS}{{id}}/change/",
    f"{KEYS}{{id}}/history/",
    f"{KEYS}{{id}}/bucket/",
    f"{KEYS}{{id}}/rotate/",
    "/admin/api_manager/managementtoken/revoke/",
    "/admin/api_manager/tier/{id}/change/",
    "/admin/api_manager/tierrule/{id}/change/",
    "/admin/api_manager/tierrule/{id}/preview/",
    "/admin/api_manager/webhook/{id}/ping/",
    "/admin/api_manager/delivery/{id}/change/",
    "/admin/auth/user/{id}/second-factor/",
]
IDS = st.sampled_from(["0", "-1", "9" * 25, "%00", "a", "٣"])
OFFERED = [
    *("tier", "tier__id__exact", "tier__isnull", "is_active__exact", "status", "attention"),
    *("action__exact", "target_type", "target_id", "groups__id__exact", "api_key__tier__id__exact"),
    *("status__exact", "webhook", "webhook__id__exact", "notice__kind__exact", "notice__api_key"),
    *("hour__gte", "hour__lt", "api_key", "endpoint", "status_code", "client_ip", "q", "p", "o", "e", "all"),
    *("range", "since", "until", "before", "after", "id", "next", "_facets", "_popup", "_to_field"),
    *("_changelist_filters", "s", "page", "app_label", "model_name", "field_name", "term"),
]
NAMES = st.sampled_from(OFFERED) | st.text(max_size=8)
VALUES = st.one_of(
    st.sampled_from(
        ["", "-1", "1,2", "9" * 19, "9" * 40, "1e400", "NaN", "\0", "%", "_", "\\", "'", "[(", "*"]
    ),
    st.sampled_from(
        ["/v1/*", "٣", "4xx", "1h", "30d", "-1.2.3", "null", "{}", "api_key__x", "name", "\ud800"]
    ),
    st.sampled_from(["fe80::1%eth0", "::/0", "::ffff:1.2.3.4/120", "1.2.3.4/8", "//elsewhere.example/"]),
    st.sampled_from(["2026-03-29T02:30", "0001-01-01", "9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00"]),
    st.sampled_from(
        ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00~1", f"2026-11-22T21:00Z~{9**20}"]
    ),
    st.datetimes().map(str),
    st.integers().map(str),
    st.text(max_size=20),
)
QUERIES = st.lists(st.tuples(NAMES, VALUES), max_size=3).map(
    lambda said: urlencode(said, errors="surrogatepass")
)


@pytest.fixture
def visitor(site: Client, issue) -> Client:
    issue()
    site.raise_request_exception = False  # a failure is an answer, too: 500
    return site


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.sampled_from(PAGES), number=IDS, query=QUERIES)
def test_any_query_is_answered(visitor, page, number, query):
    with transaction.atomic():
        answer = visitor.get(f"{page.replace('{id}', number)}?{query}")
        connection.set_rollback(rollback=True)
    assert answer.status_code < 500


NOT_OFFERED = [
    ("apikey", "digest__startswith", "a"),
    ("apikey", "name__regex", "(a+)+$"),
    ("apikey", "note__range", "0"),
    ("apikey", "days", "0"),
    ("managementtoken", "digest", "a"),
    ("auditevent", "detail__x", "\0"),
    ("auditevent", "action__exact", "\0"),
    ("auditevent", "client_ip", "0"),
    ("usagehourly", "api_key__digest__startswith", "a"),
]


def test_a_list_is_asked_for_what_its_filters_offer_and_nothing_else(visitor):
    for model, lookup, value in NOT_OFFERED:
        assert visitor.get(f"/admin/api_manager/{model}/", {lookup: value}).status_code == 400, lookup


def test_an_action_on_what_is_no_row_is_a_bad_request(visitor):
    for page, action in (
        (KEYS, "revoke"),
        ("/admin/auth/user/", "unlock"),
        ("/admin/api_manager/tier/", "delete_selected"),
    ):
        for row in ("abc", "-1", "\0", "٣", "9" * 5000):
            sent = {"action": action, "_selected_action": [row]}
            assert visitor.post(page, sent).status_code == 400, row
    assert APIKey.objects.get().revoked_at is None


def test_a_page_of_the_search_that_is_none_is_a_bad_request(visitor):
    assert visitor.get("/admin/search/", {"s": "key"}).status_code == 200
    for page in ("0", "2", "abc", "9" * 5000):
        assert visitor.get("/admin/search/", {"s": "key", "page": page}).status_code == 400, page
