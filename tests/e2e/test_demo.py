"""``make demo``: what it says is what the platform did, and it leaves nothing behind."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.processes import all_gone, family
from tests.runs import EXTERNAL
from tests.servers import PROJECT, execute

pytestmark = pytest.mark.timeout(240)

COMMAND = [sys.executable, "-m", "local", "demo"]
WHOLE_KEY = re.compile(r"rlk_live_\w{20}")


def environment(folder):
    inherited = {name: value for name, value in os.environ.items() if name not in EXTERNAL}
    return inherited | {"TMPDIR": str(folder), "TERM": "xterm-256color", "COLUMNS": "88"}


def play(folder, *options):
    return subprocess.run(
        [*COMMAND, *options],
        cwd=PROJECT,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def on_terminal(folder):
    """The demo on a terminal; yields its process, and what reads the screen until a text or its end."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        COMMAND,
        cwd=PROJECT,
        env=environment(folder),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    seen = b""

    def read_until(text, seconds=90):
        nonlocal seen
        deadline = time.monotonic() + seconds
        while text is None or text.encode() not in seen:
            assert time.monotonic() < deadline, seen.decode()
            if select.select([ours], [], [], 1)[0]:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # the other side is closed
                    break
        return seen.decode()

    try:
        yield process, read_until
    finally:
        process.terminate()
        process.wait(30)
        os.close(ours)


def test_its_facts_are_those_of_the_platform(platform, tmp_path):
    done = play(tmp_path, "--fast", "--on", platform["LOCAL_DIR"])
    assert done.returncode == 0, done.stderr
    old, new = (int(found) for found in re.findall(r'"id": (\d+)', done.stdout))
    keys = (
        "SELECT id, replaces_id, requests_per_hour, burst, revoked_at IS NOT NULL FROM api_key WHERE id IN %s"
    )
    assert sorted(execute(platform["DATABASE_URL"], keys, (old, new))) == [
        (old, None, 7200, 20, True),
        (new, old, 7200, 20, True),
    ], "no key of the tour works on"

    said = [
        tuple(map(int, row)) for row in re.findall(r"│ (\d{3}) +│ +(\d+) │ +(\d+) │ +(\d+) │", done.stdout)
    ]
    counted = "SELECT status_code, count(*), sum(count) FROM request_log WHERE api_key_id IN %s GROUP BY 1"
    in_the_log = sorted(execute(platform["DATABASE_URL"], counted, (old, new)))
    assert [(status, rows, requests) for status, rows, requests, _ in said] == in_the_log
    assert [requests for _, _, requests, _ in said] == [answers for *_, answers in said]
    assert [status for status, *_ in said] == [200, 403, 429]

    allowed, denied = re.search(r"allowed (\d+) +░░ denied (\d+)", done.stdout).groups()
    assert int(allowed) + int(denied) == 40
    assert 20 <= int(allowed) < 40
    assert re.search(r"^\d+ ms later all 8 connections", done.stdout, re.MULTILINE)
    assert "HTTP/1.1 403 Forbidden" in done.stdout
    assert not WHOLE_KEY.search(done.stdout)
    assert httpx.get(f"{platform['API_URL']}/health", trust_env=False).status_code == 200


def test_it_needs_nothing_and_leaves_nothing(tmp_path):
    done = play(tmp_path, "--fast")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Not one more, not one less." in done.stdout
    assert "\x1b" not in done.stdout
    assert not WHOLE_KEY.search(done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_in_the_middle_of_a_motion(tmp_path):
    with on_terminal(tmp_path) as (process, read_until):
        read_until("more allowed")
        processes = family(process.pid)
        assert len(processes) > 4
        process.send_signal(signal.SIGINT)
        said = read_until(None, 30)
        assert process.wait(30) == 0
    assert all_gone(processes, 10)
    assert said.rstrip().endswith("The tour was ended.")
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l"), "the cursor is shown again"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_platform_is_one_clear_line(tmp_path):
    done = play(tmp_path, "--fast", "--on", str(tmp_path))
    assert done.returncode == 1
    assert (
        done.stderr
        == f"Error: No platform has run in {tmp_path}: there is no file `env` that names its addresses.\n"
    )
