"""The service around the pages: health, logs, headers, files, and how it starts."""

import json
import logging
import os
import re
import runpy
import socket
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client

from config.logs import logging_config

FOLDER = Path(__file__).resolve().parent.parent
SETTINGS = str(FOLDER / "config" / "settings.py")
FLAGS = ("DJANGO_SECURE", "DJANGO_STATIC_COLLECTED")
PROXIES = tuple(map(ip_network, ("10.0.0.4", "10.1.0.0/16", "::1")))
HOSTS = ["a.example", "b.example", "localhost", "127.0.0.1"]


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


@pytest.mark.parametrize("sent", ["abc", "A.b_c-9", "x" * 64])
def test_a_callers_request_id_is_taken_over(db, sent):
    assert Client().get("/admin/login/", headers={"X-Request-ID": sent})["X-Request-ID"] == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "x" * 65, "ü", "a;b"])
def test_any_other_request_id_is_ours(db, sent):
    headers = {} if sent is None else {"X-Request-ID": sent}
    first, second = (Client().get("/admin/login/", headers=headers)["X-Request-ID"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second


def test_answers_guard_the_page(db):
    assert Client().get("/admin/login/")["X-Frame-Options"] == "DENY"


def lines(formatter: logging.Formatter, caplog) -> list[dict]:
    ours = (record for record in caplog.records if record.name == "config.middleware")
    return [json.loads(formatter.format(record)) for record in ours]


def test_a_request_is_one_line_without_its_query(db, formatter, caplog):
    caplog.set_level("INFO")
    Client().get("/admin/login/?q=hush", headers={"X-Request-ID": "abc"}, REMOTE_ADDR="10.0.0.5")
    (line,) = lines(formatter, caplog)
    assert line.pop("duration_ms") > 0
    assert {name: line[name] for name in line if name not in {"time", "logger"}} == {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": "/admin/login/",
        "status": 200,
        "client_ip": "10.0.0.5",
        "request_id": "abc",
    }


def test_a_failure_is_logged_with_its_request_id_and_answered_500(db, formatter, caplog, monkeypatch):
    monkeypatch.setattr("config.health.ping", lambda _: 1 / 0)
    response = Client(raise_request_exception=False).get("/health", headers={"X-Request-ID": "abc"})
    assert (response.status_code, response["X-Request-ID"]) == (500, "abc")
    failure, line = lines(formatter, caplog)
    assert (failure["event"], failure["request_id"]) == ("request_failed", "abc")
    assert "ZeroDivisionError" in caplog.text
    assert (line["event"], line["status"]) == ("request", 500)


def test_static_files_are_served_without_collecting_them(db):
    for name in ("api_manager/admin.css", "api_manager/copy.js", "admin/css/base.css"):
        response = Client().get(f"/static/{name}")
        assert response.status_code == 200
        assert response.getvalue()
        response.close()


@pytest.fixture
def formatter() -> logging.Formatter:
    options = logging_config("INFO")["formatters"]["json"]
    return options.pop("()")(**options)


@pytest.mark.parametrize("prefix", ["rlk", "rlm"])
def test_a_log_line_is_json_without_secrets_or_local_variables(formatter, prefix):
    secret = f"{prefix}_live_" + "Ab1" * 17
    try:
        len(secret) / 0
    except ZeroDivisionError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "lost %s", (secret,), sys.exc_info())
    line = json.loads(formatter.format(record))
    assert line["event"] == f"lost {prefix}_live_Ab1A…"
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


def test_a_warning_is_one_line_of_the_log_too():
    result = run("-c", "import config.wsgi, warnings; warnings.warn('first\\nsecond')")
    (line,) = map(json.loads, result.stderr.splitlines())
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "first\nsecond" in line["event"]


STARTS = [("manage.py", "check"), ("-c", "import config.wsgi"), ("-m", "gunicorn", "--check-config")]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DJANGO_SECRET_KEY", None, "is not set, and has no default"),
        ("DJANGO_SECRET_KEY", "", "at least 1 item"),
        ("DATABASE_URL", None, "is not set, and has no default"),
        ("DATABASE_URL", "mysql://user:hush@host/name", "expected postgresql://"),
        ("DATABASE_URL", "postgresql://user:hu sh@host:port/name", "URL-encoded"),
        ("LOG_LEVEL", "loud", "should be 'debug', 'info', 'warning', 'error' or 'critical'"),
        ("FORWARDED_ALLOW_IPS", "*", "'*' does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_missing_or_senseless_setting_stops_with_one_line(start, name, value, said):
    result = run(*start, **{name: value})
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Cannot start: {name}: ")
    assert said in line
    assert line.endswith(".")
    assert "hush" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("KEY_ENVIRONMENT", value) for value in ("", "Live", "a_b", "x" * 11, "é", "live\n")],
        *[("CURRENCY", value) for value in ("", "eur", "EURO", "XXX", "€", "EUR\n")],
        *[("LOG_LEVEL", value) for value in ("", "verbose", "10")],
        *[
            ("API_URL", value)
            for value in ("fastapi:8000", "ftp://a", "http://", "http://a:x", "http://a/?b")
        ],
        ("API_URL", "http://somebody:hush@fastapi:8000"),  # pragma: allowlist secret
        *[("API_TOKEN", value) for value in ("two words", "line\n", "hush é")],
        *[("FORWARDED_ALLOW_IPS", value) for value in ("*", "proxy", "10.0.0.4/8", "10.0.0.4 10.0.0.5")],
        *[(name, value) for name in FLAGS for value in ("", "ture", "2", "enabled")],
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=f"^{name}: ") as refused:
        runpy.run_path(SETTINGS)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [
        ("KEY_ENVIRONMENT", "test", "KEY_ENVIRONMENT", "test"),
        ("CURRENCY", "JPY", "CURRENCY", "JPY"),
        ("FORWARDED_ALLOW_IPS", "", "FORWARDED_ALLOW_IPS", ()),
        ("FORWARDED_ALLOW_IPS", "10.0.0.4, 10.1.0.0/16,::1", "FORWARDED_ALLOW_IPS", PROXIES),
        *[("DJANGO_SECURE", value, "SESSION_COOKIE_SECURE", True) for value in ("true", "1", "Yes", "ON")],
        *[("DJANGO_SECURE", value, "CSRF_COOKIE_SECURE", False) for value in ("False", "0", "no", "off")],
        ("DJANGO_STATIC_COLLECTED", "yes", "STATIC_COLLECTED", True),
        ("API_URL", "http://fastapi:8000/", "API_URL", "http://fastapi:8000"),
        ("API_URL", "", "API_URL", None),
        ("API_TOKEN", "", "API_TOKEN", None),
        ("DJANGO_ALLOWED_HOSTS", "a.example, b.example", "ALLOWED_HOSTS", HOSTS),
    ],
)
def test_a_right_value_is_understood(monkeypatch, name, value, setting, expected):
    monkeypatch.setenv(name, value)
    assert runpy.run_path(SETTINGS)[setting] == expected


@pytest.mark.parametrize("level", ["debug", "Info", "WARNING", "error", "Critical"])
def test_a_log_level_is_understood_in_any_case(monkeypatch, level):
    monkeypatch.setenv("LOG_LEVEL", level)
    assert runpy.run_path(SETTINGS)["LOGGING"]["root"]["level"] == level.upper()


def test_a_deployment_passes_djangos_own_checks():
    secret = "".join(chr(code) for code in range(40, 100))
    result = run(
        "manage.py", "check", "--deploy", "--fail-level=DEBUG", DJANGO_SECURE="true", DJANGO_SECRET_KEY=secret
    )
    assert result.returncode == 0, result.stderr


def test_all_missing_settings_are_named_at_once():
    result = run("manage.py", "check", DJANGO_SECRET_KEY=None, DATABASE_URL=None)
    assert result.stderr == (
        "Cannot start: DJANGO_SECRET_KEY: is not set, and has no default; "
        "DATABASE_URL: is not set, and has no default.\n"
    )


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
