"""Those who make the platform count."""

import httpx


class Users:
    """Clients and operators, who do all that is counted."""

    def __init__(self, values):
        self.api = httpx.Client(base_url=values["API_URL"], trust_env=False, timeout=30)
        self.admin = httpx.Client(base_url=values["ADMIN_URL"], trust_env=False, timeout=30)
        self.operator = {"Authorization": f"Bearer {values['ADMIN_API_TOKEN']}"}
        self.free, _ = self.issue(name="free", tier="free", burst=5)
        self.pro, _ = self.issue(name="pro", tier="pro")
        self.revoked, number = self.issue(name="revoked", tier="pro")
        self.api.delete(f"/api/keys/{number}", headers=self.operator).raise_for_status()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.api.close()
        self.admin.close()

    def issue(self, **fields):
        answer = self.api.post("/api/keys", json=fields, headers=self.operator)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"], answer.json()["id"]

    def ask(self, key, content=None):
        return self.api.post("/api/request", headers={"X-API-Key": key}, content=content).status_code

    def work(self):
        """Spend, be denied (mostly from memory), be refused, and make every mistake."""
        assert {self.ask(self.pro) for _ in range(200)} == {200}
        assert {self.ask(self.free) for _ in range(200)} <= {200, 429}
        assert self.ask(self.revoked) == 403
        assert self.ask("nobody's") == 401
        assert self.ask(self.pro, content=b"{") == 400
        assert self.ask(self.pro, content=b'{"cost": 0}') == 422
        for path in ("/api/check", "/api/usage"):
            self.api.get(path, headers={"X-API-Key": self.pro}).raise_for_status()
        self.api.get("/api/keys", headers=self.operator).raise_for_status()
        self.admin.get("/admin/login/").raise_for_status()
