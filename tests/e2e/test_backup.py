"""The whole platform loses its database, and gets it back from a backup while it runs."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest

from tests.runs import running
from tests.servers import PROJECT, execute
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def state():
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-restore-"))
    folder.chmod(0o755)
    yield folder / "state"
    shutil.rmtree(folder, ignore_errors=True)


def make(target, state, **variables):
    """Run a make target as a person would; returns the last line that it printed."""
    assignments = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "--silent", target, f"LOCAL_DIR={state}", "STACK=embedded", *assignments],  # noqa: S607
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return (done.stdout.splitlines() or [""])[-1]


class Api:
    """The API of a run, for one who has the management token."""

    def __init__(self, values):
        self.values = values
        self.http = httpx.Client(base_url=values["API_URL"], trust_env=False, timeout=10)
        self.token = {"Authorization": f"Bearer {values['ADMIN_API_TOKEN']}"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def issue(self, name):
        answer = self.http.post("/api/keys", headers=self.token, json={"name": name, "tier": "free"})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"], answer.json()["key"]

    def spend(self, key, times=1):
        codes = {self.http.post("/api/request", headers={"X-API-Key": key}).status_code for _ in range(times)}
        assert len(codes) == 1
        return codes.pop()

    def sql(self, query):
        return execute(self.values["DATABASE_URL"], query)


def rows(api, key_id):
    """How many rows of the log are a key's."""
    return dict(api.sql("SELECT api_key_id, count(*) FROM request_log GROUP BY 1")).get(key_id, 0)


def test_a_platform_goes_on_after_a_restore_as_it_was(state, tmp_path):
    with running(state, WEB_CONCURRENCY="2") as run, Api(run.wait_until_up()) as api:
        kept, revoked = api.issue("kept"), api.issue("revoked")
        assert api.spend(kept[1], 5) == 200
        wait_for(lambda: rows(api, kept[0]) == 5)
        backup = make("backup", state, BACKUP_DIR=tmp_path)

        later = api.issue("later")
        assert api.spend(later[1], 2) == 200
        assert api.http.delete(f"/api/keys/{revoked[0]}", headers=api.token).status_code == 204
        wait_for(lambda: rows(api, later[0]) == 2)
        api.sql("UPDATE api_key SET name = 'spoilt'; TRUNCATE request_log")

        make("restore", state, FILE=backup, YES=1)
        assert (kept[0], "kept") in api.sql("SELECT id, name FROM api_key")
        assert api.sql("SELECT count(*) FROM request_log") == [(5,)]
        # The same processes, without a restart.
        wait_for(lambda: api.spend(kept[1]) == api.spend(later[1]) == 200)
        assert api.spend(revoked[1]) == 403
        wait_for(lambda: rows(api, later[0]) >= 1)
        wait_for(lambda: httpx.get(f"{api.values['ADMIN_URL']}/health", trust_env=False).status_code == 200)
        assert api.issue("next")[0] > later[0]


def test_a_machine_that_lost_its_database_gets_it_back(state, tmp_path):
    with running(state) as run, Api(run.wait_until_up()) as api:
        number, key = api.issue("ours")
        assert api.spend(key, 3) == 200
        wait_for(lambda: rows(api, number) == 3)
        backup = make("backup", state, BACKUP_DIR=tmp_path)
        gone, gone_key = api.issue("issued after the backup")
        assert api.spend(gone_key, 2) == 200
        run.end()

    shutil.rmtree(state / "postgres")
    with running(state) as run, Api(run.wait_until_up()) as api:
        assert api.spend(key) == 401
        make("restore", state, FILE=backup, YES=1)
        wait_for(lambda: api.spend(key) == 200)
        wait_for(lambda: rows(api, number) == 4)
        assert api.spend(gone_key) == 401
        # The number, and what was recorded under it, is nobody else's.
        assert api.issue("next")[0] > gone
        assert api.sql("SELECT count(*) FROM audit_event WHERE target_type = 'database'") == [(1,)]
