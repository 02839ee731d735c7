"""The service under gunicorn, as a deployment starts it: its metrics, its log, whom it believes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from local.ports import free_port
from tests.waiting import wait_for

FOLDER = Path(__file__).resolve().parent.parent
REQUESTS = "django_http_requests_before_middlewares_total"
PROXY = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


class Server:
    """One ``python -m gunicorn`` with its two workers."""

    def __init__(self, folder, **variables):
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.output = folder / "admin.log"
        self.port = free_port()
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}"],
                cwd=FOLDER,
                env=os.environ | {"TMPDIR": str(self.temporary)} | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: self.has_new_workers([]) and self.answers(), 30)

    def get(self, path, **headers):
        """Each time on a new connection, so that either worker may answer."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, trust_env=False)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def workers(self):
        assert self.process.poll() is None, self.output.read_text()
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def has_new_workers(self, former):
        workers = self.workers()
        return len(workers) == 2 and not {*workers} & {*former}

    def metrics(self):
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {sample.name: sample.value for family in families for sample in family.samples}

    def lines(self):
        return [json.loads(line) for line in self.output.read_text(encoding="utf-8").splitlines()]

    def said(self, request_id):
        return [line for line in self.lines() if line.get("request_id") == request_id]

    def stop(self):
        self.process.terminate()
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path):
    servers = []

    def start(**variables):
        servers.append(Server(tmp_path, **variables))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.mark.parametrize("named", [False, True])
def test_the_metrics_are_those_of_all_workers_and_outlive_them(start, tmp_path, named):
    folder = tmp_path / "named"
    if named:
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"left by a server that was killed")
    server = start(**({"PROMETHEUS_MULTIPROC_DIR": str(folder)} if named else {}))
    for _ in range(20):
        assert server.get("/").status_code == 302
    assert [server.metrics()[REQUESTS] for _ in range(4)] == [21, 22, 23, 24]

    before = server.metrics()
    for worker in (workers := server.workers()):
        os.kill(int(worker), signal.SIGKILL)
    wait_for(lambda: server.has_new_workers(workers))
    after = server.metrics()
    assert after[REQUESTS] == before[REQUESTS] + 1
    assert after["process_cpu_seconds_total"] >= before["process_cpu_seconds_total"] > 0

    workers = server.workers()
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: server.has_new_workers(workers))
    assert server.metrics()[REQUESTS] > after[REQUESTS]

    assert server.stop() == 0
    assert folder.exists() is named
    assert list(server.temporary.iterdir()) == []


def test_cpu_and_memory_are_those_of_all_processes(start):
    server = start()
    processes = [str(server.process.pid), *server.workers()]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes)
    resident = server.metrics()["process_resident_memory_bytes"]
    assert resident == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE"), rel=0.2)
    assert server.metrics()["process_open_fds"] > 3 * len(processes)


def test_a_wrong_start_leaves_no_folder(tmp_path):
    for arguments in (["--check-config"], ["config.no_such_module:application"]):
        subprocess.run(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=FOLDER,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert list(tmp_path.iterdir()) == []


def test_every_line_of_the_log_is_json_and_those_of_a_request_carry_its_id(start):
    server = start(PYTHONWARNINGS="default")
    assert server.get("/admin/login/", **{"X-Request-ID": "page"}).status_code == 200
    assert server.get("/admin/", **{"X-Request-ID": "host", "Host": "other"}).status_code == 400
    assert server.get("/no-such-page", **{"X-Request-ID": "lost"}).status_code == 404
    with socket.create_connection(("127.0.0.1", server.port)) as rubbish:
        rubbish.sendall(b"no HTTP\r\n\r\n")
        assert b"400" in rubbish.recv(100)
    assert server.stop() == 0

    assert all({"time", "level", "logger", "event"} <= set(line) for line in server.lines())
    assert {line["logger"] for line in server.lines()} > {"gunicorn.error", "config.middleware"}
    assert [line["event"] for line in server.said("page")] == ["request"]
    assert [line["logger"] for line in server.said("host")] == [
        "django.security.DisallowedHost",
        "config.middleware",
    ]
    assert [(line["event"], line["status"]) for line in server.said("lost")] == [("request", 404)]


@pytest.mark.parametrize(
    ("allowed", "client", "secure"),
    [
        (None, "203.0.113.9", True),
        ("127.0.0.0/8", "203.0.113.9", True),
        ("10.0.0.4", "127.0.0.1", False),
        ("", "127.0.0.1", False),
    ],
)
def test_only_the_proxies_that_are_named_are_believed(start, allowed, client, secure):
    """HSTS is answered to those who came by HTTPS only."""
    variables = {"DJANGO_SECURE": "true"} | ({} if allowed is None else {"FORWARDED_ALLOW_IPS": allowed})
    server = start(**variables)
    answer = server.get("/admin/login/", **PROXY, **{"X-Request-ID": "proxied"})
    assert ("Strict-Transport-Security" in answer.headers) is secure
    wait_for(lambda: server.said("proxied"))
    assert [line["client_ip"] for line in server.said("proxied")] == [client]
