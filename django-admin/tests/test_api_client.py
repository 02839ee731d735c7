"""What becomes of a call to the API that cannot be answered; ``tests/e2e`` asks the real one."""

import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pydantic import SecretStr

from api_manager import api_client
from local.ports import free_port

TOKEN = "rlm_live_" + "Ab1" * 17
BUCKET = {
    "limit": 10,
    "remaining": 4,
    "full_at": "2026-11-22T12:00:00Z",
    "full_in_seconds": 12,
    "as_of": "2026-11-22T11:59:48Z",
}


@pytest.fixture(autouse=True)
def token(settings):
    settings.API_URL, settings.API_TOKEN = f"http://127.0.0.1:{free_port()}", SecretStr(TOKEN)


@contextmanager
def answering(settings, status: int, body: str):
    """Something at the API's address that is not the API."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        settings.API_URL = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def counted(outcome: str) -> float:
    line = re.compile(rf'^admin_api_calls_total{{outcome="{outcome}"}} (\S+)$', re.MULTILINE)
    return float(line.search(Client().get("/metrics").text)[1])


def test_an_api_that_is_not_there_is_said_counted_and_logged_without_the_token(caplog):
    before = counted("unreachable")
    answer = api_client.bucket(1)
    assert isinstance(answer, api_client.Unavailable)
    assert answer.reason.startswith("The API does not answer: ")
    assert counted("unreachable") == before + 1
    assert "api_unavailable" in caplog.text
    assert TOKEN not in caplog.text + answer.reason


def test_an_api_that_hangs_is_waited_for_half_a_second(settings):
    before = counted("timed_out")
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings.API_URL = f"http://127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        answer = api_client.bucket(1)
        assert time.monotonic() - started >= api_client.DEADLINE_SECONDS
    assert answer == api_client.Unavailable("The API does not answer within 0.5 s.")
    assert counted("timed_out") == before + 1


@pytest.mark.parametrize(
    ("status", "body", "outcome", "said"),
    [
        (401, "", "refused", "The API refuses API_TOKEN (401): it must be a management token"),
        (403, "", "refused", "The API refuses API_TOKEN (403): it must be a management token"),
        (503, "", "failed", "The API answers 503 Service Unavailable."),
        (307, "", "failed", "The API answers 307 Temporary Redirect."),
        (200, "<html>", "failed", "What answers at API_URL is not this version of the API (JSON)."),
        (200, json.dumps(BUCKET | {"remaining": -1}), "failed", "of the API (remaining)."),
        (200, json.dumps(BUCKET | {"full_at": "2026-11-22T12:00:00"}), "failed", "of the API (full_at)."),
    ],
)
def test_any_other_answer_is_said_and_counted(settings, status, body, outcome, said):
    before = counted(outcome)
    with answering(settings, status, body):
        answer = api_client.bucket(1)
    assert isinstance(answer, api_client.Unavailable)
    assert said in answer.reason
    assert counted(outcome) == before + 1


def test_the_page_shows_the_bucket_or_why_it_cannot(settings, site: Client, issue):
    page = f"/admin/api_manager/apikey/{issue().key.pk}/"
    assert f'hx-get="{page}bucket/"' in site.get(f"{page}change/").text
    answer = site.get(f"{page}bucket/")
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert "The API does not answer: " in answer.text
    settings.API_TOKEN = None
    assert "API_URL or API_TOKEN is not set" in site.get(f"{page}bucket/").text
    assert site.get("/admin/api_manager/apikey/0/bucket/").status_code == 404
    assert Client().get(f"{page}bucket/").status_code == 302


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            200,
            {"status": "ok", "checks": {"request_log": {"backlog": 0, "lag_seconds": 0}}},
            "No record waits",
        ),
        (
            200,
            {"status": "degraded", "checks": {"request_log": {"backlog": 1200, "lag_seconds": 31.5}}},
            "1,200 records wait in Redis, the oldest for 31.5 s.",
        ),
        (
            200,
            {"status": "degraded", "checks": {"request_log": {"backlog": 1, "lag_seconds": 0.5}}},
            "1 record waits in Redis, the oldest for 0.5 s.",
        ),
        (503, {"status": "down", "checks": {"request_log": {"status": "down"}}}, "but not Redis to it"),
        (200, {"status": "ok"}, "What answers at API_URL is not this version of the API (checks)."),
        (404, {}, "The API answers 404 Not Found."),
    ],
)
def test_the_overview_shows_how_the_api_is(settings, site: Client, status, answer, said):
    with answering(settings, status, json.dumps(answer)):
        assert said in site.get("/admin/api-health/").text


def test_the_overview_says_when_the_api_does_not_tell_how_it_is(settings, site: Client, db):
    assert 'hx-get="/admin/api-health/"' in site.get("/admin/").text
    before = counted("unreachable")
    answer = site.get("/admin/api-health/")
    assert "The API does not answer: " in answer.text
    assert "no-store" in answer["Cache-Control"]
    assert counted("unreachable") == before + 1
    settings.API_URL = None
    assert "API_URL is not set" in site.get("/admin/api-health/").text
    assert Client().get("/admin/api-health/").status_code == 302


def test_how_the_api_is_only_who_sees_the_requests_is_told(db):
    client = Client()
    client.force_login(User.objects.create_user("nora", is_staff=True))
    assert client.get("/admin/api-health/").status_code == 403
