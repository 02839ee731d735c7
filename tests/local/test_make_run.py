"""`make run`: the whole platform comes up, says where it is, and leaves nothing behind, however it ends."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import psycopg2
import pytest

from local import environment
from local.ports import free_port
from local.redis import RedisServer
from local.roles import Role, provision
from tests.processes import all_gone
from tests.runs import EXTERNAL, Run, running
from tests.waiting import wait_for

pytestmark = pytest.mark.timeout(300)


def decide(values, cost=1):
    return httpx.post(
        f"{values['API_URL']}/api/request",
        headers={"X-API-Key": values["DEMO_API_KEY"]},
        json={"cost": cost},
        trust_env=False,
    )


@pytest.fixture
def state(folder):
    folder.chmod(0o755)
    return folder / "state"


def test_the_whole_platform_comes_up_stops_and_comes_back_with_its_data(state):
    with running(state, SEND_NOTICES="true") as run:
        first = run.wait_until_up()
        assert run.child("send_notices") in run.family()
        assert decide(first, cost=50).json()["remaining"] == 50
        assert httpx.get(f"{first['ADMIN_URL']}/admin/login/", trust_env=False).status_code == 200
        for line in (first["API_URL"], first["ADMIN_URL"], first["DJANGO_SUPERUSER_PASSWORD"], "curl -i"):
            assert line in run.said()

        second = Run(state)
        assert second.process.wait(30) == 1
        assert f"already running on {state} (process {run.process.pid})" in second.said()

        code, seconds, gone = run.end(signal.SIGINT)
        assert (code, gone) == (0, True)
        assert seconds < 10

    with running(state, WEB_CONCURRENCY="2") as run:
        again = run.wait_until_up()
        stable = [key for key in environment.KEYS if not key.endswith("_URL")]
        assert [again[key] for key in stable] == [first[key] for key in stable]
        assert decide(again).json()["remaining"] < 99
        code, seconds, gone = run.end(signal.SIGTERM)
        assert (code, gone) == (0, True)
        assert seconds < 10


def test_no_secret_stands_in_a_log_or_on_a_command_line(state):
    with running(state, SEND_NOTICES="true") as run:
        values = run.wait_until_up()
        decide(values)
        wait_for(lambda: "notices_sender_leads" in (state / "log" / "notices.log").read_text(), 30)
        commands = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in run.family())
        run.end()
    logs = "".join(path.read_text() for path in (state / "log").iterdir())
    passwords = [values[key].split("@")[0].rsplit(":", 1)[1] for key in EXTERNAL]
    keys = ("ADMIN_API_TOKEN", "DJANGO_SECRET_KEY", "DJANGO_SUPERUSER_PASSWORD", "DEMO_API_KEY")
    for secret in [*passwords, values["WEBHOOK_SECRET_KEY"], *(values[key] for key in keys)]:
        assert secret not in logs
        assert secret not in commands


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("ratelimiter.server", "api"),
        ("gunicorn", "admin"),
        ("bin/postgres", "postgres"),
        ("redis-server", "redis"),
    ],
)
def test_a_dead_child_ends_everything_and_is_named_with_its_log(state, part, name):
    with running(state, WEB_CONCURRENCY="2") as run:
        run.wait_until_up()
        family = run.family()
        os.kill(run.child(part), signal.SIGKILL)
        assert run.process.wait(30) == 1
        assert all_gone(family)
        assert f"Error: {name} was ended by SIGKILL; its log {state}/log/{name}.log ends with:" in run.said()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_killed_supervisor_takes_all_with_it_and_the_next_start_is_not_disturbed(state):
    ports = {"API_PORT": str(free_port()), "ADMIN_PORT": str(free_port())}
    with running(state, **ports) as run:
        run.wait_until_up()
        family = run.family()
        run.process.kill()
        run.process.wait()
    with running(state, **ports) as run:
        assert decide(run.wait_until_up()).status_code == 200
        assert all_gone(family)


@pytest.mark.parametrize("seconds", [0.8, 1.4, 2.0, 3.0])
def test_a_stop_during_the_set_up_leaves_nothing(state, seconds):
    with running(state) as run:
        time.sleep(seconds)
        code, took, gone = run.end(signal.SIGTERM)
        assert code in {0, 143, -signal.SIGTERM}
        assert gone
        assert took < 10
        assert "Traceback" not in run.said()


@pytest.mark.parametrize("variable", ["API_PORT", "ADMIN_PORT"])
def test_a_port_in_use_is_said_before_anything_is_started(state, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(state, **{variable: str(port)}) as run:
            assert run.process.wait(30) == 1
    assert (
        run.said().strip() == f"Error: Port {port} is in use; choose another one: {variable}=<port> make run"
    )
    assert [path.name for path in state.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"DATABASE_URL": "postgresql://u@127.0.0.1/x"}, "so API_DATABASE_URL must be set too"),
        ({"API_DATABASE_URL": "postgresql://u@127.0.0.1/x"}, "so DATABASE_URL must be set too"),
        ({"REDIS_URL": "redis://:topsecret@127.0.0.1:1/0"}, "Redis at REDIS_URL cannot be used"),
        ({"REDIS_URL": "nonsense"}, "Redis at REDIS_URL cannot be used"),
        (
            dict.fromkeys(("DATABASE_URL", "API_DATABASE_URL"), "postgresql://u:topsecret@127.0.0.1:1/x"),
            "PostgreSQL at DATABASE_URL cannot be used",
        ),
        (
            dict.fromkeys(("DATABASE_URL", "API_DATABASE_URL"), "mysql://u:topsecret@127.0.0.1/x"),
            "DATABASE_URL must begin with postgresql://",
        ),
    ],
)
def test_servers_of_the_callers_that_cannot_be_used_are_one_clear_line(state, variables, message):
    with running(state, **variables) as run:
        assert run.process.wait(30) == 1
    assert message in run.said()
    assert "topsecret" not in run.said()
    assert run.said().count("\n") == 1


def test_servers_of_the_callers_are_used_and_left_running(state, folder, postgres):
    owner, api = Role("outer_owner", "x"), Role("outer_api", "y")
    provision(postgres.admin_url, "outer", owner, api)
    with RedisServer(folder / "outer-redis", "z", durable=False) as redis:
        variables = {
            "DATABASE_URL": postgres.url("outer", owner),
            "API_DATABASE_URL": postgres.url("outer", api),
            "REDIS_URL": redis.url,
        }
        with running(state, **variables) as run:
            values = run.wait_until_up()
            assert decide(values).status_code == 200
            assert {key: values[key] for key in EXTERNAL} == variables
            commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in run.family()]
            assert not [command for command in commands if "bin/postgres" in command or "redis" in command]
            run.end()
        assert redis.process.poll() is None
        assert not (state / "postgres").exists()
    psycopg2.connect(postgres.url("outer", api)).close()
