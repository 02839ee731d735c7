"""A page of the admin in a browser: a test hears what goes wrong on it, and looks at all its forms."""

import os
from contextlib import contextmanager

from axe_playwright_python.base import AXE_SCRIPT, AxeResults

from .conftest import PASSWORD, PICTURES

SIZES = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}
WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
TAKES_PICTURES = bool(os.environ.get("ADMIN_PICTURES"))


class Visit:
    """A page of a browser, and all that went wrong on it."""

    def __init__(self, page, address):
        self.page, self.address, self.wrong = page, address, []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._look_where)

    def _hear(self, message):
        # Chromium says so of each page that is answered with an error, which here is meant.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)

    def _look_where(self, request):
        if not request.url.startswith((self.address, "data:")):
            self.wrong.append(f"asks elsewhere: {request.url}")

    def go(self, path):
        answer = self.page.goto(self.address + path, wait_until="load")
        self.page.wait_for_function("window.Alpine && !document.documentElement.hasAttribute('x-cloak')")
        return answer

    def log_in(self, username="olive", password=PASSWORD):
        self.go("/admin/login/")
        self.page.fill("#id_username", username)
        self.page.fill("#id_password", password)
        with self.page.expect_navigation(wait_until="load"):
            self.page.press("#id_password", "Enter")

    def check(self, name):
        """Look at what is shown in all forms, or where no pictures are taken at each width and each theme."""
        self.page.evaluate(AXE_SCRIPT)
        self._check_form(name, "phone", "light", WCAG)
        self._check_form(name, "desk", "dark", WCAG)
        if TAKES_PICTURES:
            self._check_form(name, "phone", "dark", None)  # its colours are those of the desk
            self._check_form(name, "desk", "light", WCAG)
        assert not self.wrong, f"{name}: {self.wrong}"

    def photograph(self, name):
        """Keep a picture of the whole page, where pictures are asked for."""
        if TAKES_PICTURES:
            PICTURES.mkdir(exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")

    def _check_form(self, name, width, theme, rules):
        form = f"{name}-{width}-{theme}"
        self.page.set_viewport_size(SIZES[width])
        self.page.evaluate("theme => Alpine.$data(document.documentElement).switchTheme(theme)", theme)
        self.page.wait_for_function(
            "dark => document.documentElement.classList.contains('dark') === dark", arg=theme == "dark"
        )
        self.photograph(form)
        scrolls = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        assert not scrolls, f"{form} is wider than its window"
        if rules:
            found = self.page.evaluate("rules => axe.run(rules)", rules | {"resultTypes": ["violations"]})
            said = AxeResults(found)
            assert not said.violations_count, f"{form}\n{said.generate_report()}"


@contextmanager
def visiting(context, address):
    page = context.new_page()
    try:
        yield Visit(page, address)
    finally:
        page.close()
