import pytest

from ratelimiter.settings import DrainSettings, Settings, load_settings

COMPLETE = {
    "API_DATABASE_URL": "postgresql://api:secret-of-postgres@localhost/db",
    "REDIS_URL": "redis://:secret-of-redis@localhost:6379/0",
    "ADMIN_API_TOKEN": "secret-token-of-sixteen-or-more",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [field.upper() for field in Settings.model_fields]:
        monkeypatch.delenv(name, raising=False)
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def refusal(capsys=None):
    with pytest.raises(SystemExit) as stopped:
        load_settings(Settings)
    return str(stopped.value)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_secret_stops_with_its_name(monkeypatch, name):
    monkeypatch.delenv(name)
    assert refusal() == f"Cannot start: {name}: is not set, and has no default."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_DATABASE_URL", "mysql://secret-of-mysql@localhost/db"),
        ("API_DATABASE_URL", "postgresql://u:secret-of-postgres@[bad/x"),
        ("API_DATABASE_URL", "postgresql://u:secret-of-postgres@host:port/x"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:secret/x@localhost:6379/0"),
        ("ADMIN_API_TOKEN", "short"),
        ("ADMIN_API_TOKEN", "sixteen-or-more-ü"),
        ("API_PORT", "70000"),
        ("WEB_CONCURRENCY", "0"),
        ("DECISION_TIMEOUT_SECONDS", "soon"),
        ("HTTP_HEADER_BYTES", "100"),
        ("HTTP_HEADER_SECONDS", "0"),
        ("HTTP_IDLE_SECONDS", "never"),
        ("HTTP_CONNECTIONS", "1"),
        ("KEY_ENVIRONMENT", "Live!"),
        ("REQUEST_LOG_RETENTION_DAYS", "0"),
        ("FORWARDED_ALLOW_IPS", "*"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1, my-proxy.example"),
    ],
)
def test_a_wrong_value_stops_with_its_name_and_without_the_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    message = refusal()
    assert message.startswith(f"Cannot start: {name}: ")
    assert "\n" not in message
    assert value not in message or len(value) < 6


def test_a_drain_by_itself_needs_no_token(monkeypatch):
    monkeypatch.delenv("ADMIN_API_TOKEN")
    assert load_settings(DrainSettings).request_log_retention_days == 30


def test_no_secret_can_be_printed():
    printed = repr(load_settings(Settings)) + str(load_settings(Settings).model_dump())
    assert "secret-" not in printed
