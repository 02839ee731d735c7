"""The request log's pages: what is found, how pages follow one another, and how much is read for them."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from api_manager.models import APIKey, EndpointHourly, RequestLog, UsageDaily, UsageMinutely
from api_manager.request_log import bounds, origins, search
from api_manager.request_log.criteria import Criteria, Span
from api_manager.request_log.search import Position

LOG = "/admin/api_manager/requestlog/"


def log(key: APIKey, number: int = 1, *, ago=timedelta(), step=timedelta(seconds=1), **fields):
    newest = timezone.now() - ago
    return RequestLog.objects.bulk_create(
        RequestLog(
            **{"api_key": key, "endpoint": "/v1/orders", "status_code": 200, "cost": 1, "remaining": 5}
            | {"client_ip": "10.0.0.1", "timestamp": newest - index * step}
            | fields
        )
        for index in range(number)
    )


def listed(site: Client, query: str = "") -> list[int]:
    response = site.get(f"{LOG}?{query}")
    assert response.status_code == 200, response.headers
    assert not response.context["cl"].criteria_form.errors
    return [row.pk for row in response.context["cl"].result_list]


def turned(site: Client, query: str = "", link: str = "older_link") -> list[list[int]]:
    """Every page from a query on, by the link that its foot offers."""
    pages = []
    while query is not None:
        page = site.get(f"{LOG}?{query.removeprefix('?')}")
        shown = page.context["cl"]
        pages.append([row.pk for row in shown.result_list])
        query = getattr(shown, link)
        assert query is None or query in unescape(page.text)
    return pages


@pytest.fixture
def small(monkeypatch):
    """Few rows make a page, and a window."""
    monkeypatch.setattr(search, "PER_PAGE", 5)
    monkeypatch.setattr(search, "WINDOW", 7)
    for budget in ("BUDGET", "FURTHER"):  # a busy machine is slow
        monkeypatch.setattr(search, budget, timedelta(minutes=1))


def test_the_log_shows_and_filters_requests(site: Client, issue):
    first, second = issue("alpha").key, issue("beta").key
    log(first, 3)
    log(second, 2, status_code=429, endpoint="/v1/users", count=4, client_ip="2001:db8::7")
    log(second, 1, ago=timedelta(days=3), client_ip="10.0.1.9")
    page = site.get(LOG).text
    for text in ("alpha", "/v1/users", "10.0.0.1", "429 limited", "5 rows here."):
        assert text in page
    counts = {
        "": 5,
        "range=7d": 6,
        "range=1h": 5,
        "status_code=429": 2,
        "status_code__exact=429": 2,
        "status_code=4xx": 2,
        "status_code=42X": 2,
        "status_code=5xx": 0,
        f"api_key={first.pk}": 3,
        f"api_key__id__exact={first.pk}": 3,
        "api_key=ALPH": 3,
        f"api_key={first.hint}": 3,
        "api_key=a": 5,
        "endpoint=/v1/users": 2,
        "endpoint=/v1/": 0,
        "endpoint=/v1/*": 5,
        "endpoint=/v1/u*": 2,
        "endpoint=*": 5,
        "client_ip=10.0.0.1": 3,
        "client_ip=10.0.0.0/23&range=7d": 4,
        "client_ip=10.0.0.77/24&range=7d": 3,
        "client_ip=2001:db8::/32": 2,
        "client_ip=0.0.0.0/0": 3,
        f"api_key={second.pk}&status_code=429&client_ip=2001:db8::7&endpoint=/v1/users": 2,
        f"since={datetime.now(UTC) - timedelta(days=4):%Y-%m-%dT%H:%M}&until=2999-01-01T00:00": None,
        f"since={datetime.now(UTC) - timedelta(days=4):%Y-%m-%dT%H:%M}": 6,
        f"until={datetime.now(UTC) - timedelta(days=2, hours=12):%Y-%m-%dT%H:%M:%S}": 1,
    }
    for query, count in counts.items():
        if count is not None:
            assert len(listed(site, query)) == count, query


WRONG = [
    ("status_code=x", "status_code", "such as 429"),
    ("status_code=4x9", "status_code", "such as 429"),
    ("status_code=%D9%A4xx", "status_code", "such as 429"),
    ("api_key=999999", "api_key", "no key with the number"),
    ("api_key=99999999999999999999999", "api_key", "no key with the number"),
    ("api_key=nobody", "api_key", "No key has this"),
    ("api_key=%D9%A1", "api_key", "No key has this"),
    ("endpoint=%00", "endpoint", "Null characters"),
    ("endpoint=/a*b*", "endpoint", "at the end only"),
    (f"endpoint={'x' * 201}", "endpoint", "at most 200"),
    ("client_ip=10.0.0.256", "client_ip", "such as 192.0.2.7"),
    ("client_ip=fe80::1%25eth0/64", "client_ip", "such as 192.0.2.7"),
    ("since=yesterday", "since", "valid date/time"),
    ("since=2026-01-02T00:00&until=2026-01-01T00:00", "since", "before it ends"),
    ("since=2026-01-01T00:00&until=2026-06-01T00:00", "since", "At most 92 days"),
    ("until=0001-01-01T00:00", "until", "this century"),
    ("range=2d", "range", "1h, 24h"),
    ("before=x", "before", "no place in the list"),
    ("after=2026-01-01T00:00:00~1", "after", "no place in the list"),
]


def test_what_cannot_be_meant_is_said_and_nothing_is_looked_for(site: Client, issue):
    log(issue().key)
    for query, field, says in WRONG:
        with CaptureQueriesContext(connection) as captured:
            page = site.get(f"{LOG}?{query}")
        assert page.status_code == 200, query
        assert list(page.context["cl"].criteria_form.errors) == [field], query
        assert says in unescape(page.text), query
        assert not [each for each in captured if "request_log" in each["sql"]], query
    for beside in ("origins", "export"):
        assert "such as 429" in unescape(site.get(f"{LOG}{beside}/?status_code=x", follow=True).text)


def test_a_pasted_key_is_refused_wherever_it_stands(site: Client, issue):
    secret = issue().secret
    for field in ("api_key", "endpoint"):
        assert "whole key" in site.get(f"{LOG}?{field}={secret}").text


def test_a_part_of_a_name_that_too_many_keys_have_is_refused(site: Client, issue, monkeypatch):
    monkeypatch.setattr("api_manager.request_log.form.MOST_KEYS", 1)
    issue("alpha"), issue("alphabet")
    assert "type more of it" in site.get(f"{LOG}?api_key=alpha").text


def test_pages_lead_back_and_forth_and_show_every_row_once(site: Client, issue, small):
    first, second = issue("alpha").key, issue("beta").key
    log(first, 12)
    log(second, 12, timestamp=timezone.now() - timedelta(minutes=1))  # in one moment
    log(first, 9, ago=timedelta(minutes=2), endpoint="/v1/users")
    rows = list(RequestLog.objects.order_by("-timestamp", "-id"))
    span = Span(rows[-1].timestamp, timezone.now())
    both = (first.pk, second.pk)
    wholes = {
        Criteria(span): rows,
        Criteria(span, keys=both): rows,
        Criteria(span, keys=both[:1]): [row for row in rows if row.api_key_id == first.pk],
        Criteria(span, endpoint="/v1/o*"): [row for row in rows if row.endpoint == "/v1/orders"],
        Criteria(span, keys=both[:1], endpoint="/v1/users"): [
            row for row in rows if row.endpoint == "/v1/users"
        ],
    }
    for criteria, whole in wholes.items():
        assert [row for page in walked(criteria, None) for row in page.rows] == whole, criteria
        back = walked(criteria, Position(span.start, 0), newer=True)
        assert [row for page in reversed(back) for row in page.rows] == whole, criteria
    query = f"api_key={first.pk}&endpoint=/v1/users"
    older = turned(site, query)
    assert [len(page) for page in older] == [5, 4]
    assert turned(site, f"{query}&after={Position.of(rows[-1])}", "newer_link")[0] == [
        row.pk for row in rows[-6:-1]
    ]


def walked(criteria: Criteria, position: Position | None, *, newer=False) -> list[search.Page]:
    pages = []
    while not pages or position is not None:
        pages.append(search.find(criteria, position, newer=newer))
        position = pages[-1].newer if newer else pages[-1].older
    return pages


def test_turning_round_on_an_empty_page_leaves_no_row_out(site: Client, issue, small):
    rows = log(issue().key, 5)
    oldest = Position.of(rows[-1])
    page = site.get(f"{LOG}?before={oldest}").context["cl"]
    assert not page.result_list
    assert listed(site, page.newer_link.removeprefix("?")) == [row.pk for row in rows]


def test_rows_that_arrive_meanwhile_move_no_other(site: Client, issue, small):
    key = issue().key
    before = [row.pk for row in log(key, 23)]
    seen, query = [], "?range=7d"
    while query is not None:
        page = site.get(f"{LOG}{query}").context["cl"]
        seen += [row.pk for row in page.result_list]
        query = page.older_link
        log(key, 3)  # newer than all
        log(key, 2, ago=timedelta(seconds=10))  # late, somewhere in the midst
    assert len(set(seen)) == len(seen)
    assert [pk for pk in seen if pk in set(before)] == before


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, unique=True), st.data())
def test_of_two_rows_one_is_older_and_a_position_survives_an_address(pairs, data):
    positions = [Position(datetime(2026, 1, 1, 0, 0, 0, micro, UTC), number) for micro, number in pairs]
    assert [Position.parse(str(position)) for position in positions] == positions
    picked = data.draw(st.sampled_from(positions))

    def matches(condition, row):
        def one(child):
            if not isinstance(child, tuple):
                return matches(child, row)
            name, _, lookup = child[0].partition("__")
            value = getattr(row, name)
            return {
                "lt": value < child[1],
                "gt": value > child[1],
                "lte": value <= child[1],
                "gte": value >= child[1],
            }[lookup]

        return (all if condition.connector == "AND" else any)(map(one, condition.children))

    for row in positions:
        order = (row.timestamp, row.id), (picked.timestamp, picked.id)
        assert matches(picked.older, row) == (order[0] < order[1])
        assert matches(picked.newer, row) == (order[0] > order[1])


def test_a_rare_row_is_looked_for_a_while_and_the_page_says_how_far(site: Client, issue, small, monkeypatch):
    monkeypatch.setattr(search, "MOST_WINDOWS", 2)
    key = issue().key
    log(key, 30)
    rare = log(key, 1, ago=timedelta(minutes=5), endpoint="/rare")[0]
    page = site.get(f"{LOG}?endpoint=/rare")
    shown = page.context["cl"]
    assert not shown.result_list
    assert shown.found.looked_until is not None
    assert "Search further back" in page.text
    assert f"{shown.found.looked_until:%Y-%m-%d %H:%M:%S}" in page.text
    assert [pk for page in turned(site, "endpoint=/rare") for pk in page] == [rare.pk]


def test_no_page_reads_more_than_its_bound_however_many_rows_there_are(site: Client, issue, monkeypatch):
    monkeypatch.setattr(search, "PER_PAGE", 10)
    monkeypatch.setattr(search, "WINDOW", 100)
    monkeypatch.setattr(search, "MOST_WINDOWS", 3)
    for budget in ("BUDGET", "FURTHER"):
        monkeypatch.setattr(search, budget, timedelta(minutes=1))
    monkeypatch.setattr(origins, "MOST_ROWS", 100)
    keys = [issue(f"k{number}").key for number in range(4)]
    # Full days only: of one that has just begun the few rows are cheaper read whole than by an index.
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT request_log_add_partitions(0)")
        for key in keys:
            cursor.execute(
                "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, client_ip, timestamp)"
                " SELECT %s, '/' || n %% 7, 200, 1, '10.0.0.1', %s - n * interval '40 second'"
                " FROM generate_series(1, 4000) AS n",
                [key.pk, midnight],
            )
        cursor.execute("ANALYZE request_log")
    middle = f"{midnight - timedelta(hours=20):%Y-%m-%dT%H:%M:%S.%fZ}~0"
    queries = [
        "",
        "range=30d",
        f"range=30d&before={middle}",
        f"range=30d&after={middle}",
        f"range=30d&api_key={keys[0].pk}",
        f"range=30d&api_key={keys[0].pk}&status_code=429",
        "range=30d&api_key=k",
        "range=30d&endpoint=/nothing",
        "range=30d&endpoint=/no*",
        "range=30d&client_ip=192.0.2.0/24",
        "range=30d&status_code=5xx",
    ]
    paths = [f"{LOG}?{query}" for query in queries] + [f"{LOG}origins/?range=30d&api_key={keys[0].pk}"]
    for path in paths:
        with CaptureQueriesContext(connection) as captured:
            page = site.get(path)
        assert page.status_code == 200
        assert len(captured) <= 12 + 2 * search.MOST_WINDOWS, path
        statements = [each["sql"] for each in captured if 'FROM "request_log"' in each["sql"]]
        statements += [each["sql"] for each in captured if "FROM request_log" in each["sql"]]
        assert not [sql for sql in statements if "OFFSET" in sql], path
        for sql in statements:
            if not sql.startswith("EXPLAIN"):
                assert _rows_read(sql) <= 100 + 30, (path, sql)


def _rows_read(sql: str) -> int:
    """What the scans of a statement looked at: with what a filter dropped, and a row of each partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        [[plan]] = cursor.fetchall()
    return _scanned(plan[0]["Plan"])


def _scanned(node: dict) -> int:
    children = sum(map(_scanned, node.get("Plans", [])))
    if node["Node Type"] not in {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"}:
        return children
    rows = (
        node["Actual Rows"]
        + node.get("Rows Removed by Filter", 0)
        + node.get("Rows Removed by Index Recheck", 0)
    )
    return children + int(rows * node["Actual Loops"])


def test_the_number_of_rows_is_the_planners_guess_where_there_are_more(site: Client, issue, small):
    log(issue().key, 300)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE request_log")
    with CaptureQueriesContext(connection) as captured:
        page = site.get(LOG)
    found = re.search(r"5 rows here, about (\d+) in all", page.text)
    assert found
    assert 250 <= int(found[1]) <= 350
    assert not [each for each in captured if re.match(r'SELECT COUNT\(.*FROM "request_log"', each["sql"])]


def test_a_query_that_takes_too_long_is_ended_and_said(site: Client, issue, monkeypatch):
    log(issue().key, 3)
    monkeypatch.setattr(bounds, "STATEMENT_TIMEOUT", timedelta(milliseconds=20))
    slow = RequestLog.objects.extra(where=["pg_sleep(0.2) IS NOT NULL"])
    monkeypatch.setattr(search, "_beyond", lambda rows, *_, **__: slow.order_by(*rows.query.order_by))
    stopped = bounds._STOPPED._value.get()
    page = site.get(LOG)
    assert page.status_code == 200
    assert "was stopped after 0.02 seconds" in page.text
    assert bounds._STOPPED._value.get() == stopped + 1
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_days_lead_to_hours_and_these_to_minutes_without_a_look_at_the_log(site: Client, issue):
    key = issue().key
    hour = (timezone.now() - timedelta(hours=5)).replace(minute=0, second=0, microsecond=0)
    EndpointHourly.objects.create(hour=hour, endpoint="/a", allowed=1200, limited=34)
    EndpointHourly.objects.create(hour=hour, endpoint="/b", allowed=1)
    UsageMinutely.objects.create(minute=hour + timedelta(minutes=7), api_key=key, allowed=3)
    UsageDaily.objects.create(day=hour.date(), api_key=key, allowed=9)

    def counts(query, beside=""):
        page = site.get(f"{LOG}{query}{beside}")
        links = re.findall(r'<li><a href="([^"]+)" title="([^"]+): ([\d,]+)"', page.text)
        return {title: (unescape(link), count) for link, title, count in links if count != "0"}

    days = counts("?range=30d")
    [(day_link, count)] = days.values()
    assert count == "1,235"
    [(hour_link, count)] = counts(day_link).values()
    assert count == "1,235"
    assert hour.strftime("since=%Y-%m-%dT%H%%3A00%%3A00") in hour_link
    [(minute_link, count)] = counts(hour_link).values()
    assert count == "3"
    assert "%3A07%3A00" in minute_link
    assert [count for _, count in counts(f"?range=30d&api_key={key.pk}").values()] == ["9"]
    assert [count for _, count in counts("?range=30d&endpoint=/b").values()] == ["1"]
    assert "Requests by" not in site.get(f"{LOG}?endpoint=/b*").text


def test_a_key_s_addresses_and_endpoints_are_counted(site: Client, issue, monkeypatch):
    key, other = issue("leaky").key, issue("other").key
    log(key, 3)
    log(
        key,
        1,
        client_ip="198.51.100.7",
        endpoint="/v1/users",
        status_code=429,
        count=40,
        ago=timedelta(hours=2),
    )
    log(key, 1, client_ip=None, ago=timedelta(hours=3))
    log(other, 4, client_ip="192.0.2.1")
    link = f"{LOG}origins/?api_key={key.pk}"
    assert link in unescape(site.get(f"{LOG}?api_key={key.pk}").text)
    page = site.get(link)
    found = page.context["found"]
    assert [(use.name, use.requests, use.allowed) for use in found.addresses] == [
        ("198.51.100.7", 40, 0),
        ("10.0.0.1", 3, 3),
        ("", 1, 1),
    ]
    assert [(use.name, use.requests) for use in found.endpoints] == [("/v1/users", 40), ("/v1/orders", 4)]
    assert (found.rows, found.address_count, found.endpoint_count) == (5, 3, 2)
    assert "All 5 rows" in page.text
    assert f"{LOG}?api_key={key.pk}&client_ip=198.51.100.7" in unescape(page.text)
    monkeypatch.setattr(origins, "MOST_ROWS", 3)
    assert "Only the newest 3 rows" in site.get(link).text
    assert "not used" in site.get(f"{link}&until=2026-01-01T00:00").text
    assert "Name one key" in site.get(f"{LOG}origins/", follow=True).text


def test_a_row_whose_key_is_gone_is_shown(site: Client, issue):
    gone = APIKey(pk=4_000)
    log(gone)
    assert "key 4000" in site.get(LOG).text
