"""One admin site with something on each page, and one browser, for all tests of what an operator sees."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import sync_playwright

from local import chromium
from local.ports import free_port
from tests.servers import API, OWNER, PROJECT, execute, run_in_admin
from tests.waiting import wait_for

PICTURES = Path(__file__).parent / "pictures"
PASSWORD = "not-a-common-one-9"
TOTP_KEY = b"twenty-bytes-of-test"

# Some of each: a revoked key, one that ends and is not used, requests of all outcomes, a drain that is gone,
# a token, an operator of few rights, one with a second factor, and a name by which nobody may log in for now.
FILL = """
from datetime import timedelta
from django.contrib.auth.models import Group, User
from axes.models import AccessAttempt
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from api_manager import keys, lockout, second_factor, tokens, webhooks
from api_manager.audit import Actor
from api_manager.tier_rules import suggestions
from api_manager.models import (
    APIKey, Delivery, DrainCursor, EndpointHourly, KeyLimit, KeyTerms, ManagementToken, RequestLog, Tier,
    TierLimit, TierPrice, TierRule, TierSuggestion, UsageDaily, UsageHourly, UsageMinutely, Webhook,
)

operator = User.objects.create_superuser("olive", "olive@example.com", "PASSWORD")
Group.objects.create(name="Support")
tessa = User.objects.create_superuser("tessa", "tessa@example.com", "PASSWORD")
TOTPDevice.objects.create(user=tessa, name="Authenticator app", key=b"TOTP_KEY".hex())
second_factor.renew_backup_codes(tessa, Actor("admin:tessa"))
AccessAttempt.objects.create(username=lockout.name(None, {"username": "nobody"}), ip_address="127.0.0.1",
    failures_since_start=5)
AccessAttempt.objects.update(attempt_time=timezone.now() + timedelta(days=1))
actor, now = Actor("admin:olive"), timezone.now()
Tier.objects.filter(name="pro").update(price_per_month=49, price_per_thousand="0.25", included_requests=1000)
pro = Tier.objects.get(name="pro")
TierLimit.objects.create(tier=pro, name="second", requests=10, window_seconds=1, burst=20)
TierLimit.objects.create(tier=pro, name="monthly", requests=100_000, period="month", is_shadow=True)
TierLimit.objects.create(tier=pro, name="exports", requests=20, window_seconds=3600,
    endpoint_prefix="/v1/export")
names = ("Checkout", "Mobile app", "Partner feed", "A name as long as one may become, of a client far away")
for name, tier in zip(names, ("enterprise", "pro", "basic", "free")):
    key = APIKey(name=name, tier=Tier.objects.get(name=tier), owner_email="ops@example.com")
    key = keys.issue(key, actor).key
    for code in (200, 429, 403):
        violated = ["second", "exports", "~monthly"] if code == 429 else []
        RequestLog.objects.create(api_key=key, endpoint="/v1/orders/search", status_code=code, cost=1,
            violated=violated, remaining=5, client_ip="2001:db8:1234:5678:9abc:def0:1234:5678", timestamp=now)
    minute = now.replace(second=0, microsecond=0)
    hour, sums = minute.replace(minute=0), {"allowed": 1200, "limited": 30, "cost": 1500}
    for ago in range(0, 120, 5):
        UsageMinutely.objects.create(api_key=key, minute=minute - timedelta(minutes=ago),
            allowed=40 + ago, limited=ago // 4, cost=60 + ago)
    UsageHourly.objects.create(api_key=key, hour=hour, endpoint="/v1/orders", **sums)
    UsageDaily.objects.create(api_key=key, day=hour.date(), **sums)
for days in (0, 1, 3):
    EndpointHourly.objects.create(hour=hour - timedelta(days=days), endpoint="/v1/orders",
        allowed=4800, limited=120, cost=6000)
DrainCursor.objects.create(epoch="one", last_id=f"{now.timestamp() * 1000:.0f}-0", updated_at=now, shard=0)
month = timedelta(days=31)
APIKey.objects.filter(pk=1).update(expires_at=now + timedelta(days=2), created_at=now - month)
KeyLimit.objects.create(api_key_id=2, name="second", requests=30)
keys.rotate(2, timedelta(hours=1), actor)
keys.pause(3, actor)
TierPrice.objects.update(valid_from=now - month)
KeyTerms.objects.update(valid_from=now.replace(day=1, hour=0))
keys.revoke(4, actor, "Found in a public repository, by its owner; the holder is told.")
first = APIKey.objects.get(pk=1)
first.note = "Their contact is on call from nine to five. Ask before raising the limits."
first.allowed_cidrs, first.burst = ["192.0.2.0/24", "2001:db8::/32"], 500
keys.update(first, ["note", "allowed_cidrs", "burst"], actor)
free, basic = Tier.objects.get(name="free"), Tier.objects.get(name="basic")
rule = TierRule.objects.create(name="Grow out of free", condition="share_at_least", threshold=80,
    tier=free, action="suggest", target_tier=basic)
TierRule.objects.create(name="Tell of denials", condition="denials_at_least", threshold=1, action="notify",
    period_days=1, is_active=True)
UsageDaily.objects.create(api_key_id=1, day=hour.date() - timedelta(days=1), **sums)
KeyTerms.objects.filter(chain=1).update(valid_from=now - month)
figures = {"rule": rule.name, "tier": "free", "target": "basic", "period": "2026-10-24 to 2026-11-22",
    "tokens_a_day": 2004.5, "share_percent": 83.52, "limit": "default", "denials_a_day": 120.25}
for number in (1, 2, 3):
    TierSuggestion.objects.create(chain_id=number, rule=rule, tier=free, target_tier=basic, figures=figures)
suggestions.dismiss(3, actor)
APIKey.objects.filter(pk=2).update(is_exempt=True)
address = "https://hooks.example.com/a/path/as/long/as/some/receivers/have/" + "x" * 60
hook = Webhook(name="Billing", url=address, kinds=["key.revoked", "key.retiered"])
webhooks.create(hook, actor)
Webhook.objects.create(name="Asleep", url="https://example.com/", kinds=["key.quota"], is_active=False)
APIKey.objects.filter(pk=5).update(tier=1)
webhooks.ping(hook.pk)
Delivery.objects.filter(pk=1).update(status="dead", attempts=14, attempted_at=now, status_code=500,
    duration_ms=10_000, error="The answer was 500, and not one of 200 to 299.",
    answer="<html><body>" + "Service Unavailable " * 20 + "</body></html>")
tokens.issue(ManagementToken(name="ci", scopes=["keys:read", "keys:write"]), actor)
""".replace("PASSWORD", PASSWORD).replace("TOTP_KEY", TOTP_KEY.decode())


DATABASE = "test_browser"


@pytest.fixture(scope="session")
def address(postgres, template, tmp_path_factory):
    """The address of an admin site under gunicorn, on a database of its own."""
    name = DATABASE
    execute(postgres.admin_url, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER.name}")
    run_in_admin(postgres.url(name, OWNER), FILL)
    port = free_port()
    log = tmp_path_factory.mktemp("browser") / "admin.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1"],
            cwd=PROJECT / "django-admin",
            env=os.environ | {"DATABASE_URL": postgres.url(name, OWNER), "API_DATABASE_ROLE": API.name},
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def answers():
        assert server.poll() is None, log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, 30)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(20)
    execute(postgres.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def no_requests_yet(postgres, address):
    """The roll-ups of endpoints are out of sight meanwhile, as if no request had been counted."""
    url = postgres.url(DATABASE, OWNER)
    execute(url, "ALTER TABLE endpoint_hourly RENAME TO endpoint_hourly_hidden")
    execute(url, "CREATE TABLE endpoint_hourly (LIKE endpoint_hourly_hidden)")
    yield
    execute(url, "DROP TABLE endpoint_hourly")
    execute(url, "ALTER TABLE endpoint_hourly_hidden RENAME TO endpoint_hourly")


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window.

    Not for the session: while Playwright runs, so does its event loop, and no other test could start one.
    """
    executable = chromium.executable()
    if executable is None:
        pytest.skip("there is no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(chromium.OPTIONS))
        yield browser
        browser.close()
