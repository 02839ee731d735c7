from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from api_manager import credentials
from api_manager.models import APIKey, AuditEvent

OPERATOR = {
    "DJANGO_SUPERUSER_USERNAME": "olga",
    "DJANGO_SUPERUSER_PASSWORD": "a-long-and-rare-one-7",
    "DJANGO_SUPERUSER_EMAIL": "olga@example.com",
}


def create_api_key(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("create_api_key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_create_api_key_prints_the_key_and_nothing_else_on_stdout(db):
    out, err = create_api_key("--name", "demo", "--tier", "free")
    assert out.endswith("\n")
    secret = out[:-1]
    assert credentials.is_well_formed(secret)
    key = APIKey.objects.get()
    assert bytes(key.digest) == credentials.digest(secret)
    assert (key.name, key.tier.name, key.is_active, key.expires_at) == ("demo", "free", True, None)
    assert key.hint in err
    assert secret not in err
    assert AuditEvent.objects.get().actor == "command:create_api_key"


def test_create_api_key_takes_every_property(db):
    out, _ = create_api_key(
        *("--name", "demo", "--tier", "pro", "--owner-email", "o@example.com", "--environment", "test"),
        *("--requests-per-hour", "7", "--burst", "8", "--expires-at", "2099-01-31T12:00:00+02:00"),
        *("--allowed-cidrs", "10.0.0.0/8 192.0.2.7, 2001:DB8::/32\n192.0.2.7", "--note", "paid\nyearly"),
    )
    assert out.startswith("rlk_test_")
    key = APIKey.objects.get()
    assert (key.owner_email, key.requests_per_hour, key.burst) == ("o@example.com", 7, 8)
    assert key.allowed_cidrs == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    assert key.note == "paid\nyearly"
    assert key.expires_at.isoformat() == "2099-01-31T10:00:00+00:00"
    assert AuditEvent.objects.get().detail["expires_at"] == "2099-01-31T10:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tier", "gold"), "--tier: there is no tier 'gold'; there are free, basic, pro, enterprise"),
        (("--name", ""), "--name: This field is required"),
        (("--owner-email", "x"), "--owner-email: Enter a valid"),
        (("--requests-per-hour", "0"), "--requests-per-hour: Ensure"),
        (("--burst", "999999999"), "--burst: At 100 requests per hour"),
        (("--expires-at", "soon"), "--expires-at: Enter a valid"),
        (("--expires-at", "2020-01-01"), "--expires-at: This time has passed"),
        (("--note", "n" * 2001), "--note: Ensure this value has at most 2000"),
        (("--note", credentials.generate()), "--note: This holds an API key"),
        (
            ("--allowed-cidrs", " ".join(f"10.0.{n}.0/24" for n in range(51))),
            "--allowed-cidrs: List contains 51",
        ),
        (
            ("--allowed-cidrs", "10.0.0.0/8 10.0.0.1/8 office"),
            r"--allowed-cidrs: 10.0.0.1/8: did you mean 10.0.0.0/8\? office: must be an IP address or",
        ),
        (("--environment", "LIVE"), "--environment: environment must be"),
    ],
)
def test_create_api_key_refuses_bad_input_and_changes_nothing(db, arguments, message):
    with pytest.raises(CommandError, match=message):
        create_api_key("--name", "demo", "--tier", "free", *arguments)
    assert APIKey.objects.count() == AuditEvent.objects.count() == 0


def test_create_operator_makes_one_superuser_and_leaves_it_as_it_is(db, monkeypatch):
    for name, value in OPERATOR.items():
        monkeypatch.setenv(name, value)
    call_command("create_operator", stderr=StringIO())
    user = User.objects.get()
    assert user.is_staff
    assert user.is_superuser
    assert (user.username, user.email) == ("olga", "olga@example.com")
    assert user.check_password("a-long-and-rare-one-7")

    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "another-rare-one-8")
    call_command("create_operator", stderr=(err := StringIO()))
    assert "left as it is" in err.getvalue()
    assert User.objects.get().check_password("a-long-and-rare-one-7")


@pytest.mark.parametrize("missing", OPERATOR)
def test_create_operator_names_the_missing_variable(db, monkeypatch, missing):
    for name, value in OPERATOR.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(CommandError, match=missing):
        call_command("create_operator", stderr=StringIO())
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DJANGO_SUPERUSER_PASSWORD", "password"),
        ("DJANGO_SUPERUSER_EMAIL", "x"),
        ("DJANGO_SUPERUSER_USERNAME", "a b"),
    ],
)
def test_create_operator_refuses_bad_values_without_repeating_them(db, monkeypatch, name, value):
    for variable, good in OPERATOR.items():
        monkeypatch.setenv(variable, good)
    monkeypatch.setenv(name, value)
    with pytest.raises(CommandError, match=f"^{name}: "):
        call_command("create_operator", stderr=StringIO())
    assert not User.objects.exists()
