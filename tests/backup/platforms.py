"""A platform's database on an embedded server, and what an operator does to it."""

import hashlib
from urllib.parse import urlsplit

from local import run
from local.backup import backup
from local.restore import restore
from local.roles import Role
from local.stack import Embedded
from tests.servers import execute

OWNER, API = Role(run.OWNER, "owner-of-tests"), Role(run.API_ROLE, "api-of-tests")


def digest(key):
    return hashlib.sha256(key.encode()).digest()


class Platform:
    """A migrated database on the embedded server, and what an operator does to it."""

    def __init__(self, server, state, name):
        self.server = server
        self.name = name
        self.state = state
        self.stack = Embedded(state, name)
        self.said = []

    def url(self, role=None, name=None):
        if role is not None:
            return self.server.url(name or self.name, role)
        return urlsplit(self.server.admin_url)._replace(path=f"/{name or self.name}").geturl()

    def sql(self, statement, *args, name=None):
        return execute(self.url(name=name), statement, *args)

    def issue(self, key, **fields):
        """Issue the key called `key`; returns its number."""
        tier = fields.pop("tier_id", None) or self.sql("SELECT id FROM tier WHERE name = 'free'")[0][0]
        values = {"name": key, "hint": f"rlk_live_{key}", "digest": digest(key)} | fields
        columns = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        return self.sql(
            f"INSERT INTO api_key ({columns}, tier_id) VALUES ({marks}, {tier}) RETURNING id",  # noqa: S608  # names of ours
            *values.values(),
        )[0][0]

    def issue_token(self, name, **fields):
        """Issue a management token; returns its number. Fields are SQL, or moments."""
        values = {"name": f"'{name}'", "hint": "''", "scopes": "'{keys:read}'"}
        values |= {"digest": f"sha256('{name}')"}
        values |= {
            field: f"'{value}'" if field.endswith("_at") else str(value) for field, value in fields.items()
        }
        return self.sql(
            f"INSERT INTO management_token ({', '.join(values)}) VALUES ({', '.join(values.values())})"  # noqa: S608  # ours
            " RETURNING id"
        )[0][0]

    def keys(self, column="id"):
        return dict(self.sql(f"SELECT name, {column} FROM api_key ORDER BY id"))  # noqa: S608  # the same

    def log(self, key_id, count=1):
        self.sql(
            "INSERT INTO request_log (api_key_id, endpoint, status_code, cost, timestamp)"
            " SELECT %s, '/x', 200, 1, now() FROM generate_series(1, %s)",
            key_id,
            count,
        )

    def backup(self, folder):
        return backup(self.stack, folder, self.said.append)

    def restore(self, path, answer="yes"):
        self.said.clear()
        return restore(self.stack, path, self.said.append, lambda _: answer == "yes")

    def databases(self):
        return {name for (name,) in execute(self.server.admin_url, "SELECT datname FROM pg_database")}

    def audit(self):
        return self.sql(
            "SELECT action, target_type, target_id FROM audit_event WHERE actor = 'command:restore'"
        )
