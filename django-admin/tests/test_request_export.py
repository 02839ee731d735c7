"""Requests as a file: what stands in it, who may have it, and what it costs."""

import csv
import io
import json
import re
import threading
from datetime import timedelta
from html import unescape

import psycopg2
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.utils import timezone

from api_manager.models import APIKey, AuditEvent, RequestLog
from api_manager.request_log import export
from api_manager.request_log.criteria import Criteria, Span

PAGE = "/admin/api_manager/requestlog/export/"


def log(key: APIKey, number: int = 1, **fields) -> None:
    now = timezone.now()
    RequestLog.objects.bulk_create(
        RequestLog(
            **{"api_key": key, "endpoint": "/v1/orders", "status_code": 200, "cost": 1, "remaining": 5}
            | {"client_ip": "10.0.0.1", "timestamp": now - timedelta(seconds=index)}
            | fields
        )
        for index in range(number)
    )


def exported(site: Client, kind: str, query: str = ""):
    response = site.post(f"{PAGE}?{query}", {"format": kind})
    assert response.status_code == 200, response.headers
    assert response.streaming
    return response, response.getvalue().decode()


def outcome(name: str) -> float:
    return export._EXPORTS.labels(name)._value.get()


def test_a_file_holds_the_filtered_rows_newest_first_and_the_audit_says_who_had_it(
    site: Client, issue, monkeypatch
):
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", 3)
    key, other = issue("orders, of “Ümlaut”").key, issue("other").key
    log(key, 7)
    log(other, 2, endpoint="/v1/users", client_ip="2001:db8::7", status_code=429, count=9, remaining=None)
    whole = outcome("whole")
    response, text = exported(site, "csv")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(rows[0]) == export.COLUMNS
    expected = list(RequestLog.objects.order_by("-timestamp", "-id"))
    assert [int(row["id"]) for row in rows] == [row.pk for row in expected]
    assert rows[-1] | {"id": ""} == {
        "timestamp": f"{expected[-1].timestamp:%Y-%m-%dT%H:%M:%S.%fZ}",
        "id": "",
        "api_key_id": str(key.pk),
        "key_name": key.name,
        "key_hint": key.hint,
        "endpoint": "/v1/orders",
        "status_code": "200",
        "cost": "1",
        "remaining": "5",
        "count": "1",
        "client_ip": "10.0.0.1",
    }
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    assert response["X-Accel-Buffering"] == "no"
    query = "since=2026-01-01T00:00&until=2026-01-02T00:00:00"
    assert exported(site, "ndjson", query)[0]["Content-Disposition"] == (
        'attachment; filename="requests-20260101T000000Z-20260102T000000Z.ndjson"'
    )
    _, text = exported(
        site, "ndjson", f"api_key={other.pk}&status_code=4xx&client_ip=2001:db8::/32&endpoint=/v1/*"
    )
    assert [json.loads(line)["endpoint"] for line in text.splitlines()] == ["/v1/users"] * 2
    assert json.loads(text.splitlines()[0]) | {"id": 0, "timestamp": ""} == {
        "timestamp": "",
        "id": 0,
        "api_key_id": other.pk,
        "key_name": "other",
        "key_hint": other.hint,
        "endpoint": "/v1/users",
        "status_code": 429,
        "cost": 1,
        "remaining": None,
        "count": 9,
        "client_ip": "2001:db8::7",
    }
    assert outcome("whole") == whole + 3
    event = AuditEvent.objects.filter(action="exported").latest("id")
    assert (event.actor, event.target_type) == ("admin:alice", "database")
    assert set(event.detail) == {"from", "to", "keys", "status", "address", "endpoint", "format"}
    assert event.detail["keys"] == [other.pk]
    assert (event.detail["status"], event.detail["address"]) == ("400–499", "2001:db8::/32")
    trail = site.get("/admin/api_manager/auditevent/?action=exported").text
    assert "2001:db8::/32" in trail


def test_no_text_of_a_client_is_a_formula(site: Client, issue):
    key = issue("=1+1").key
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"]
    for text in texts:
        log(key, 1, endpoint=text)
    rows = list(csv.DictReader(io.StringIO(exported(site, "csv")[1], newline="")))
    assert {row["endpoint"] for row in rows} == {f"'{text}" for text in texts}
    assert {row["key_name"] for row in rows} == {"'=1+1"}
    lines = exported(site, "ndjson")[1].splitlines()
    assert {json.loads(line)["endpoint"] for line in lines} == set(texts)


def test_the_page_tells_first_how_much_it_will_be(site: Client, issue):
    log(issue().key, 3)
    page = site.get(f"{PAGE}?client_ip=10.0.0.1")
    assert re.search(r"About <strong>\d+</strong> request", page.text)
    assert "10.0.0.1/32" in page.text
    assert "CSV, about 0.1 MB" in " ".join(page.text.split())
    assert "since=" in unescape(page.text), "the file is of the range that the page has named"
    assert f"{PAGE}?client_ip=10.0.0.1" in unescape(site.get(f"{PAGE[:-7]}?client_ip=10.0.0.1").text)
    assert site.post(PAGE, {"format": "xml"}).status_code == 200
    assert not AuditEvent.objects.filter(action="exported").exists()


def test_only_who_may_export_does(db, issue):
    log(issue().key)
    viewer = User.objects.create_user("vera", password="x", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_requestlog"))
    site = Client()
    site.force_login(viewer)
    assert "Export…" not in site.get(PAGE[:-7]).text
    assert site.get(PAGE).status_code == 403
    assert site.post(PAGE, {"format": "csv"}).status_code == 403
    viewer.user_permissions.add(Permission.objects.get(codename="export_requestlog"))
    assert "Export…" in site.get(PAGE[:-7]).text
    assert exported(site, "csv")[1].count("\r\n") == 2


def test_a_few_run_at_a_time_and_the_next_is_told_so(site: Client, issue):
    log(issue().key)
    held = psycopg2.connect(**connection.get_connection_params())
    busy = outcome("busy")
    try:
        with held.cursor() as cursor:
            for place in range(export.MOST_AT_ONCE):
                cursor.execute("SELECT pg_advisory_lock(hashtext('request_log export'), %s)", [place])
        response = site.post(PAGE, {"format": "csv"}, follow=True)
        assert "Try again when one has ended" in response.text
    finally:
        held.close()
    assert outcome("busy") == busy + 1
    for _ in range(export.MOST_AT_ONCE + 1):  # each gives its place back
        exported(site, "csv")


def test_one_that_is_left_or_takes_too_long_is_cut_and_gives_its_place_back(site: Client, issue, monkeypatch):
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", 2)
    log(issue().key, 10)
    cut = outcome("cut")
    criteria = Criteria(Span(timezone.now() - timedelta(hours=1), timezone.now()))
    for _ in range(export.MOST_AT_ONCE + 1):
        stream = export.Export(criteria, export.FORMATS["csv"])
        pieces = iter(stream)
        assert next(pieces).startswith(b"timestamp,")
        assert next(pieces).count(b"\n") == 2
        stream.close()  # as the server does when the reader is gone
    monkeypatch.setattr(export, "MOST_TIME", timedelta())
    with pytest.raises(export.TooSlow):
        exported(site, "csv")
    assert outcome("cut") == cut + export.MOST_AT_ONCE + 2


def test_many_rows_take_the_memory_of_few_and_are_of_one_snapshot(committed, issue_key):
    key = issue_key().key
    User.objects.filter(username="bob").delete()
    site = Client()
    site.force_login(User.objects.create_superuser("bob", "bob@example.com", "not-a-common-one-9"))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, client_ip, timestamp)"
            " SELECT %s, '/a', 200, 1, '10.0.0.1', now() - n * interval '1 millisecond'"
            " FROM generate_series(1, 30000) AS n",
            [key.pk],
        )
    response = site.post(f"{PAGE}?api_key={key.pk}", {"format": "csv"})
    pieces = response.streaming_content
    size = [len(next(pieces)), len(next(pieces))]

    def insert() -> None:
        try:
            RequestLog.objects.create(
                api_key=key,
                endpoint="/late",
                status_code=200,
                cost=1,
                timestamp=timezone.now() - timedelta(seconds=20),
            )
        finally:
            connection.close()

    thread = threading.Thread(target=insert)
    thread.start()
    thread.join()
    rest = list(pieces)
    assert not [piece for piece in rest if b"/late" in piece]
    assert len(rest) == 5, (
        "six pieces of five thousand rows: what is in memory does not grow with their number"
    )
    assert max(map(len, rest)) <= size[1] * 1.1
    assert b"/late" in site.post(f"{PAGE}?api_key={key.pk}", {"format": "csv"}).getvalue()
