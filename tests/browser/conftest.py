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

# Some of each: a revoked key and one that ends, requests of all outcomes, a token, an operator of few rights.
FILL = """
from datetime import timedelta
from django.contrib.auth.models import Group, User
from django.utils import timezone
from api_manager import keys, tokens
from api_manager.audit import Actor
from api_manager.models import APIKey, KeyLimit, ManagementToken, RequestLog, Tier, TierLimit, UsageHourly

operator = User.objects.create_superuser("olive", "olive@example.com", "PASSWORD")
Group.objects.create(name="Support")
actor, now = Actor("admin:olive"), timezone.now()
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
    hour = now.replace(minute=0, second=0, microsecond=0)
    UsageHourly.objects.create(api_key=key, hour=hour, endpoint="/v1/orders",
        allowed=1200, limited=30, cost=1500)
KeyLimit.objects.create(api_key_id=2, name="second", requests=30)
keys.rotate(2, timedelta(hours=1), actor)
keys.pause(3, actor)
keys.revoke(4, actor)
tokens.issue(ManagementToken(name="ci", scopes=["keys:read", "keys:write"]), actor)
""".replace("PASSWORD", PASSWORD)


@pytest.fixture(scope="session")
def address(postgres, template, tmp_path_factory):
    """The address of an admin site under gunicorn, on a database of its own."""
    name = "test_browser"
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
