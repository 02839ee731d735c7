"""The admin site, as an operator's browser uses it."""

import re

import httpx


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
