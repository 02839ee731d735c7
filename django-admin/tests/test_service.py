"""The service around the pages: health, logs, headers, files, and how it starts."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client, RequestFactory

from api_manager.client import client_ip
from config.logs import logging_config

FOLDER = Path(__file__).resolve().parent.parent


def test_health_is_ok_while_postgresql_answers(db):
    response = Client().get("/health")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == body["checks"]["postgres"]["status"] == "ok"
    assert 0 < body["checks"]["postgres"]["latency_ms"] < 2000
    assert "no-store" in response["Cache-Control"]


def test_health_is_down_within_its_deadline_when_postgresql_is_silent(db, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
        monkeypatch.setitem(connection.settings_dict, "PORT", silent.getsockname()[1])
        started = time.monotonic()
        response = Client().get("/health")
        assert time.monotonic() - started < 4
    assert response.status_code == 503
    assert response.json()["status"] == response.json()["checks"]["postgres"]["status"] == "down"


def test_health_is_down_at_once_when_nothing_listens(db, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setitem(connection.settings_dict, "HOST", "127.0.0.1")
    monkeypatch.setitem(connection.settings_dict, "PORT", port)
    response = Client().get("/health")
    assert response.status_code == 503
    assert str(port) not in response.text


def test_health_takes_get_and_head_only(db):
    assert Client().head("/health").status_code == 200
    assert Client().post("/health").status_code == 405


def test_the_root_leads_to_the_admin(db):
    response = Client().get("/")
    assert (response.status_code, response.url) == (302, "/admin/")


def test_answers_carry_a_request_id_of_ours_and_guard_the_page(db):
    forged = Client().get("/admin/login/", headers={"X-Request-ID": "forged"})
    assert len(forged["X-Request-ID"]) == 36
    assert forged["X-Frame-Options"] == "DENY"
    assert forged["X-Request-ID"] != Client().get("/admin/login/")["X-Request-ID"]


def test_static_files_are_served_without_collecting_them(db):
    for name in ("api_manager/admin.css", "api_manager/copy.js", "admin/css/base.css"):
        response = Client().get(f"/static/{name}")
        assert response.status_code == 200
        assert response.getvalue()
        response.close()


@pytest.mark.parametrize(
    ("proxies", "forwarded", "expected"),
    [
        (0, "1.1.1.1", "10.0.0.5"),
        (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),
        (2, "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        (1, "rubbish", None),
        (1, "", None),
    ],
)
def test_only_our_own_proxies_are_believed(monkeypatch, proxies, forwarded, expected):
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", proxies)
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.5", HTTP_X_FORWARDED_FOR=forwarded)
    assert client_ip(request) == expected


@pytest.fixture
def formatter() -> logging.Formatter:
    options = logging_config("INFO")["formatters"]["json"]
    return options.pop("()")(**options)


def test_a_log_line_is_json_without_keys_or_local_variables(formatter):
    secret = "rlk_live_" + "Ab1" * 17
    try:
        len(secret) / 0
    except ZeroDivisionError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "lost %s", (secret,), sys.exc_info())
    line = json.loads(formatter.format(record))
    assert line["event"] == "lost rlk_live_Ab1A…"
    assert {"time", "level", "logger", "exception"} <= set(line)
    assert "Ab1Ab1" not in json.dumps(line)


def run(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    variables = os.environ | environment
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=FOLDER,
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("start", [("manage.py", "check"), ("-c", "import config.wsgi")])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DJANGO_SECRET_KEY", None),
        ("DJANGO_SECRET_KEY", ""),
        ("DATABASE_URL", None),
        ("DATABASE_URL", "mysql://user:hush@host/name"),
        ("DATABASE_URL", "postgresql://user:hu sh@host:port/name"),
    ],
)
def test_a_missing_or_senseless_secret_stops_with_one_line(start, name, value):
    result = run(*start, **{name: value})
    assert result.returncode != 0
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "hush" not in result.stderr


def test_an_unreachable_database_is_one_line():
    result = run(
        "manage.py",
        "create_operator",
        DATABASE_URL="postgresql://user:hush@127.0.0.1:1/x",
        DJANGO_SUPERUSER_USERNAME="a",
        DJANGO_SUPERUSER_PASSWORD="b",
        DJANGO_SUPERUSER_EMAIL="c",
    )
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert "hush" not in result.stderr


def test_behind_tls_cookies_are_secure():
    code = "from config import settings as s; print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)"
    assert run("-c", code, DJANGO_SECURE="true").stdout.split() == ["True", "True"]
    assert run("-c", code, DJANGO_SECURE="false").stdout.split() == ["False", "False"]
