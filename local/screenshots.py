"""`make screenshots`: the README's pictures, taken of a platform that really runs.

A platform of its own is started in a temporary folder, given some customers and their requests, and
photographed by a Chromium without a window; so the pictures are never older than the last run. What the
terminal shows is the output of the real command.
"""

import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from io import StringIO
from typing import Any, Final

import httpx
import typer
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.text import Text

from local import apart, chromium
from local.apart import PROJECT, Platform
from local.errors import LocalError
from local.ports import LOOPBACK, free_port
from local.steps import Steps

FOLDER: Final = PROJECT / ".github" / "screenshots"

_WIDTH, _HEIGHT = 1280, 800
_OVERVIEW_HEIGHT = 1080
_WATCH_SECONDS = 240.0
"""How long the load runs under Prometheus's eyes: a graph wants more than one point."""
_WAVE_SECONDS = 90.0
_CUSTOMERS: Final = (
    ("Checkout", "enterprise"),
    ("Mobile app", "pro"),
    ("Partner feed", "pro"),
    ("Nightly import", "basic"),
    ("Playground", "free"),
    ("Trial account", "free"),
)
_ENDPOINTS: Final = ("/v1/orders", "/v1/orders/search", "/v1/customers", "/v1/exports")
_GRAPHS: Final = {
    "decisions": "sum by (tier, outcome) (rate(rate_limit_decisions_total[1m]))",
    "latency": '{__name__=~"job:request_duration_seconds:p.+", endpoint="/api/request"}',
}
_DEMO_CHAPTERS: Final = ("5. Watch", "6. Rotate")


def main() -> None:
    """Take all pictures anew."""
    executable = chromium.executable()
    if executable is None:
        raise LocalError("There is no Chromium here: apt install chromium, brew install chromium")
    steps = Steps(Console())
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with steps.step("Platform"):
            platform = stack.enter_context(apart.platform())
        with steps.step("Customers and their requests"):
            keys = _issue_keys(platform)
            _spend(platform, keys)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=list(chromium.OPTIONS))
            with steps.step("Admin site"):
                _photograph_admin(browser, platform)
            with steps.step("Overview of a demo site"), apart.platform() as demo:
                _seed(demo)
                _photograph_overview(browser, demo)
            with steps.step("API documentation"):
                _photograph_docs(browser, platform)
            with steps.step("Terminal"):
                _photograph_load_test(browser, platform)
                _photograph_demo(browser, platform)
            _photograph_prometheus(browser, platform, keys, steps)
            browser.close()
    steps.line(f"The pictures are in {FOLDER.relative_to(PROJECT)}")


def _seed(platform: Platform) -> None:
    """A month of a site; beside the platform's own key, which is what needs the force."""
    size = ("--keys", "500", "--requests", "300000")
    subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "manage.py", "seed_demo", *size, "--force"],
        cwd=PROJECT / "django-admin",
        env=os.environ | platform.values,
        capture_output=True,
        check=True,
    )


def _issue_keys(platform: Platform) -> dict[str, str]:
    """A key for each customer; the secrets by their names."""
    keys = {}
    with httpx.Client(base_url=platform["API_URL"], trust_env=False) as client:
        for name, tier in _CUSTOMERS:
            answer = client.post(
                "/api/keys",
                json={"name": name, "tier": tier, "owner_email": "ops@example.com"},
                headers={"Authorization": f"Bearer {platform['ADMIN_API_TOKEN']}"},
            )
            answer.raise_for_status()
            keys[name] = answer.json()["key"]
    return keys


def _spend(platform: Platform, keys: dict[str, str], requests: int = 1500) -> None:
    """Requests of all customers, more than the small ones may have."""
    dice = random.Random(1)  # noqa: S311  # the same picture each time
    names = list(keys)
    with httpx.Client(base_url=platform["API_URL"], trust_env=False) as client:
        for _ in range(requests):
            client.post(
                "/api/request",
                json={"endpoint": dice.choice(_ENDPOINTS), "cost": dice.choice((1, 1, 1, 2))},
                headers={"X-API-Key": keys[dice.choice(names)]},
            )


def _photograph_admin(browser: Browser, platform: Platform) -> None:
    page = _logged_in(browser, platform)
    for name, path in {"keys": "api_manager/apikey/", "requests": "api_manager/requestlog/"}.items():
        page.goto(f"{platform['ADMIN_URL']}/admin/{path}")
        _save(page, name)
    page.context.close()
    page = _logged_in(browser, platform, _OVERVIEW_HEIGHT)
    page.get_by_role("link", name=_CUSTOMERS[-1][0]).first.click()
    page.wait_for_selector(".bucket-meter")
    page.get_by_role("link", name="1 hour").click()
    page.wait_for_selector(".ranges [aria-current] >> text=1 hour")
    page.wait_for_selector(".bucket-meter")
    _save(page, "key")
    page.context.close()


def _photograph_overview(browser: Browser, platform: Platform) -> None:
    page = _logged_in(browser, platform, _OVERVIEW_HEIGHT)
    page.goto(f"{platform['ADMIN_URL']}/admin/?range=7d")
    _save(page, "overview")
    page.context.close()


def _logged_in(browser: Browser, platform: Platform, height: int = _HEIGHT) -> Page:
    page = _page(browser, height)
    page.goto(f"{platform['ADMIN_URL']}/admin/login/")
    page.fill("#id_username", platform["DJANGO_SUPERUSER_USERNAME"])
    page.fill("#id_password", platform["DJANGO_SUPERUSER_PASSWORD"])
    page.click("[type=submit]")
    page.wait_for_url(f"{platform['ADMIN_URL']}/admin/")
    return page


def _photograph_docs(browser: Browser, platform: Platform) -> None:
    page = _page(browser)
    page.goto(f"{platform['API_URL']}/docs")
    page.wait_for_selector(".opblock")
    _save(page, "docs")
    page.context.close()


def _photograph_load_test(browser: Browser, platform: Platform) -> None:
    command = ("load_test.py", "--requests", "150", "--rate", "50")
    variables = {"API_URL": platform["API_URL"], "API_KEY": platform["DEMO_API_KEY"]}
    said = _said(command, 60, variables)
    _photograph_terminal(browser, "load-test", command[0], f"$ python {' '.join(command)}\n{said}", 60)


def _photograph_demo(browser: Browser, platform: Platform) -> None:
    """The chapters of the demo that show most; the last one's heading ends the picture."""
    said = _said(("-m", "local", "demo", "--fast", "--on", str(platform.folder)), 88, {})
    lines = said.splitlines()
    plain = [Text.from_ansi(line).plain for line in lines]
    first, end = (next(n for n, line in enumerate(plain) if line.startswith(t)) for t in _DEMO_CHAPTERS)
    _photograph_terminal(browser, "demo", "make demo", "\n".join(lines[first:end]), 88)


def _said(command: Sequence[str], columns: int, variables: dict[str, str]) -> str:
    """What a program of ours says on a terminal of so many columns, in colour."""
    done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, *command],
        cwd=PROJECT,
        env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(columns)} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _photograph_terminal(browser: Browser, name: str, title: str, ansi: str, columns: int) -> None:
    terminal = Console(record=True, width=columns, file=StringIO(), force_terminal=True)
    terminal.print(Text.from_ansi(ansi))
    page = _page(browser)
    page.set_content(terminal.export_svg(title=title, font_aspect_ratio=0.61))
    _save(page, name, "svg")
    page.context.close()


def _photograph_prometheus(browser: Browser, platform: Platform, keys: dict[str, str], steps: Steps) -> None:
    port = str(free_port())
    url = f"http://{LOOPBACK}:{port}"
    with apart.running("watch", platform.folder, PROMETHEUS_PORT=port):
        with steps.step("Prometheus, and a load for it to see"):
            started = time.monotonic()
            while (passed := time.monotonic() - started) < _WATCH_SECONDS:
                _spend(platform, keys, 20)
                time.sleep(0.3 + 0.2 * math.sin(passed / _WAVE_SECONDS * math.tau))
        with steps.step("Prometheus's graphs"):
            for name, expression in _GRAPHS.items():
                page = _page(browser, height=1000)
                graph = {"g0.expr": expression, "g0.tab": "0", "g0.range_input": "3m"}
                page.goto(f"{url}/graph?{httpx.QueryParams(graph)}")
                page.wait_for_selector("canvas, .rickshaw_graph svg")
                page.wait_for_timeout(1000)  # the lines are drawn a little after their frame
                _save(page, name)
                page.context.close()


def _page(browser: Browser, height: int = _HEIGHT) -> Page:
    return browser.new_page(viewport={"width": _WIDTH, "height": height}, device_scale_factor=1.5)


def _save(page: Page, name: str, selector: str | None = None) -> None:
    options: dict[str, Any] = {"path": FOLDER / f"{name}.png", "animations": "disabled"}
    if selector:
        page.locator(selector).screenshot(**options)
    else:
        page.screenshot(**options)


if __name__ == "__main__":
    try:
        main()
    except (LocalError, OSError, httpx.HTTPError, subprocess.CalledProcessError) as failure:
        typer.secho(f"Error: {failure}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from failure
