"""The whole platform, started once for the tests that walk through it."""

import re
import shutil
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.runs import running


@pytest.fixture(scope="session")
def platform():
    """The values of `.local/env` of a running platform with two API workers."""
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-e2e-"))
    folder.chmod(0o755)
    with running(folder / "state", WEB_CONCURRENCY="2") as run:
        yield run.wait_until_up() | {"LOCAL_DIR": str(run.state)}
    shutil.rmtree(folder, ignore_errors=True)


class Site:
    """An operator at the admin site, by HTTP as a browser would."""

    def __init__(self, values):
        self.http = httpx.Client(base_url=values["ADMIN_URL"], trust_env=False, timeout=30)
        self.http.get("/admin/login/")
        answer = self.post(
            "/admin/login/",
            username=values["DJANGO_SUPERUSER_USERNAME"],
            password=values["DJANGO_SUPERUSER_PASSWORD"],
            next="/admin/",
        )
        assert answer.status_code == 302, answer.text

    def get(self, path, **params):
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, path, **fields):
        token = {"csrfmiddlewaretoken": self.http.cookies["csrftoken"]}
        return self.http.post(path, data=token | fields, headers={"Referer": str(self.http.base_url)})

    def tier_id(self, name):
        """The id that the form's list of tiers gives a tier."""
        form = self.get("/admin/api_manager/apikey/add/")
        return re.search(rf'<option value="(\d+)"[^>]*>{name}</option>', form)[1]

    def issue(self, name, **fields):
        """Issue a key through the form; returns its id and secret."""
        fields = {"tier": self.tier_id("free"), "is_active": "on"} | fields
        answer = self.post("/admin/api_manager/apikey/add/", name=name, **fields)
        assert answer.status_code == 200, answer.text
        assert "no-store" in answer.headers["cache-control"]
        secret = re.search(r"rlk_live_[0-9A-Za-z]{49}", answer.text)[0]
        key_id = re.search(r"/admin/api_manager/apikey/(\d+)/change/", answer.text)[1]
        return int(key_id), secret


@pytest.fixture(scope="session")
def site(platform):
    site = Site(platform)
    yield site
    site.http.close()


@pytest.fixture
def api(platform):
    with httpx.Client(base_url=platform["API_URL"], trust_env=False, timeout=30) as http:
        yield http
