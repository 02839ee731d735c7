"""The attacks for some seconds: what they leave behind. `make abuse` plays each of them at full length."""

import json
import resource
import shutil
import time
from dataclasses import replace

import pytest

from ratelimiter.keys.directory import LOOKUP_INTERVAL_SECONDS
from tests.waiting import wait_for

from .attacks import ATTACKS, Attacker
from .play import Target, ask

CLIENTS = 20
SECONDS = 2.0
NAMED = {attack.name: replace(attack, clients=CLIENTS) for attack in ATTACKS}


class QuickTarget(Target):
    """The API on the servers of the tests, which take no time to start."""

    def __init__(self, database, redis_server, postgres):
        super().__init__(
            API_DATABASE_URL=database.api_url,
            HTTP_HEADER_SECONDS="1",
            HTTP_IDLE_SECONDS="1",
            HTTP_CONNECTIONS="200",
        )
        self.postgres, self.redis = postgres, redis_server
        self._database = database

    @property
    def admin_url(self):
        return self._database.admin_url

    def stop(self):
        """Stop what was started here."""
        self.stop_server()
        self._output.close()
        shutil.rmtree(self.folder)


@pytest.fixture
def rig(database, redis_server, postgres):
    rig = QuickTarget(database, redis_server, postgres)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard - 1), hard))
    try:
        rig.start_server()
        yield rig
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        rig.stop()


def attack(rig, *names):
    """Attack beside good clients, who may not notice; returns the requests, the seconds, lookups and rows."""
    keys = rig.secrets(5, per_second=10_000, burst=100_000)
    bad = rig.secrets(1, per_second=1 / 3600, burst=1)
    rig.warm_up(keys + bad)
    lookups, memory, began = rig.lookups(), rig.memory_kib(), time.monotonic()
    with Attacker([NAMED[name] for name in names], rig.port, bad[0]) as attacker:
        answers = ask(rig, keys, per_second=30, seconds=SECONDS)
        growth = rig.memory_kib() - memory
    seconds = time.monotonic() - began
    assert {answer.status for answer in answers} == {200}, rig.log()[-2000:]
    assert growth < 20_000
    wait_for(lambda: rig.connections() == 0)
    assert "Traceback" not in rig.log()
    of_good = "SELECT count(*) FROM request_log JOIN api_key ON api_key.id = api_key_id WHERE burst > 1"
    wait_for(lambda: rig.sql(of_good) == [(len(answers),)], seconds=30)
    rows, doubled = rig.rows()
    assert doubled == 0
    return attacker.sent, seconds, rig.lookups() - lookups, rows - len(answers)


def test_the_server_may_open_as_many_files_as_the_system_allows(rig):
    soft, hard = resource.prlimit(rig.server.pid, resource.RLIMIT_NOFILE)
    assert soft == hard
    [started] = [json.loads(line) for line in rig.log().splitlines() if '"http_limits"' in line]
    assert (started["open_files"], started["connections"]) == (hard, 200)


def test_random_keys_cost_no_query_and_no_row(rig):
    sent, _, lookups, rows = attack(rig, "random keys")
    assert sent > CLIENTS
    assert (lookups, rows) == (0, 0)


def test_all_other_attacks_at_once_cost_few_queries_and_rows_and_are_refused(rig):
    _, seconds, lookups, rows = attack(rig, *(name for name in NAMED if name != "random keys"))
    assert 1 <= lookups <= seconds / LOOKUP_INTERVAL_SECONDS + 2
    # In a second: those that came before the denial was known, ten by themselves, and the rest in one.
    assert 1 <= rows <= (seconds + 2) * (CLIENTS + 11)
    for problem in ("bad-request", "head-too-large", "head-too-slow"):
        assert rig.metric(f'http_refusals_total{{problem="{problem}"}}') >= CLIENTS
