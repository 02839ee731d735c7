"""A child gets only what it is given, is stopped with all it started, and does not outlive its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from local.child import Child, basic_environment, stop_all
from local.errors import LocalError
from local.ports import free_port, require_free
from tests.processes import is_gone
from tests.servers import PROJECT
from tests.waiting import wait_for


def shell(folder, script, **options):
    return Child("sh", ["sh", "-c", script], log=folder / "sh.log", environment={}, cwd=folder, **options)


def test_a_child_sees_none_of_our_environment(folder, monkeypatch):
    monkeypatch.setenv("SOMEONES_SECRET", "x")
    assert "SOMEONES_SECRET" not in basic_environment()
    child = shell(folder, "/usr/bin/env")
    child.start()
    child.process.wait()
    assert "SOMEONES_SECRET" not in child.last_lines()
    child.stop()


def test_a_child_that_does_not_listen_is_killed_with_its_own_children(folder):
    child = shell(folder, "trap '' TERM; sleep 60 & echo $!; wait; sleep 60", grace_seconds=0.3)
    child.start()
    wait_for(child.last_lines)
    grandchild = int(child.last_lines())
    began = time.monotonic()
    child.stop()
    assert time.monotonic() - began < 2
    wait_for(lambda: is_gone(grandchild))


def test_what_a_dead_child_left_behind_is_cleared_away(folder):
    child = shell(folder, "sleep 60 & echo $!")
    child.start()
    wait_for(lambda: not child.alive)
    grandchild = int(child.last_lines())
    assert not is_gone(grandchild)
    child.stop()
    wait_for(lambda: is_gone(grandchild))


def test_several_are_stopped_at_the_same_time(folder):
    children = [
        shell(folder / str(number), "trap '' TERM; sleep 60", grace_seconds=0.5) for number in range(4)
    ]
    for child in children:
        child.cwd.mkdir()
        child.start()
    began = time.monotonic()
    stop_all(children)
    assert time.monotonic() - began < 1.5


def test_stop_may_come_before_start_and_twice(folder):
    child = shell(folder, "sleep 60")
    child.stop()
    child.start()
    child.stop()
    child.stop()
    assert not child.alive


def test_the_log_of_the_start_before_is_kept(folder):
    for text in ("first", "second"):
        child = shell(folder, f"echo {text}")
        child.start()
        child.process.wait()
    assert (folder / "sh.log").read_text() == "second\n"
    assert (folder / "sh.log.1").read_text() == "first\n"


@pytest.mark.parametrize(("script", "end"), [("exit 3", "exit code 3"), ("kill -KILL $$", "SIGKILL")])
def test_how_a_child_ended_is_told(folder, script, end):
    child = shell(folder, script)
    child.start()
    child.process.wait()
    assert end in child.how_it_ended()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_children_die_when_their_parent_is_killed(folder):
    script = f"""
import time
from pathlib import Path
from local.redis import RedisServer
redis = RedisServer(Path({str(folder)!r}) / "redis", "secret").start()
print(redis.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        assert not is_gone(pid)
        parent.kill()
    wait_for(lambda: is_gone(pid))


def test_ctrl_c_at_the_terminal_does_not_reach_a_child(folder):
    child = shell(folder, "sleep 60")
    child.start()
    assert os.getpgid(child.process.pid) != os.getpgid(0)
    assert os.getsid(child.process.pid) != os.getsid(0)
    child.stop()


def test_no_stop_signal_is_left_blocked_in_a_child(folder):
    child = shell(folder, "grep SigBlk /proc/self/status")
    child.start()
    child.process.wait()
    blocked = int(child.last_lines().split()[1], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert not blocked & (1 << (number - 1))


def test_a_busy_port_is_named_with_the_variable_that_changes_it(folder):
    port = free_port()
    require_free(port, "API_PORT")
    script = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(1); s.accept()"
    command = [sys.executable, "-uc", script]
    child = Child("listener", command, log=folder / "log", environment={}, cwd=folder)
    child.start()
    wait_for(child.last_lines)
    with pytest.raises(LocalError, match=rf"Port {port} is in use.*API_PORT="):
        require_free(port, "API_PORT")
    child.stop()
    require_free(port, "API_PORT", wait_seconds=5)
