"""Both machines go to another version over SSH, and back when it does not work."""

import getpass
import re
import subprocess
from contextlib import contextmanager
from itertools import repeat

import httpx
import pytest

from local.ports import LOOPBACK, free_port
from tests.servers import PROJECT
from tests.stack.machines import run
from tests.stack.stack import docker
from tests.stack.test_failures import load
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
KEYSCAN = ("ssh-keyscan", "-p")
SSHD_CONFIG = """
ListenAddress {address}:{port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
SetEnv {environment}
"""


@contextmanager
def sshd(machine, folder):
    """A server whose sessions are on the machine; yields its port and host key."""
    port = free_port()
    folder.mkdir()
    for name in ("host_key", "user_key"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name])
    environment = machine.environment | {"CHECKOUT": str(machine.checkout), "SMOKE_SECONDS": "10"}
    config = folder / "sshd_config"
    config.write_text(
        SSHD_CONFIG.format(
            address=LOOPBACK,
            port=port,
            folder=folder,
            environment=" ".join(f"{name}={value}" for name, value in environment.items()),
        )
    )
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", config], stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: server.poll() is None and known_hosts(port))
            yield port, known_hosts(port)
        finally:
            server.terminate()


def known_hosts(port):
    scan = subprocess.run([*KEYSCAN, str(port), LOOPBACK], capture_output=True, text=True, check=False)
    return scan.stdout


@pytest.fixture(scope="module")
def rollout(machines, tmp_path_factory):
    """Runs rollout.sh as a developer's machine does; returns its exit code and what it said."""
    folder = tmp_path_factory.mktemp("ssh")
    with sshd(machines["api"], folder / "api") as api, sshd(machines["admin"], folder / "admin") as admin:
        (folder / "known_hosts").write_text(api[1] + admin[1])
        # One key for both, as an operator has.
        (folder / "admin" / "user_key.pub").write_bytes((folder / "api" / "user_key.pub").read_bytes())
        environment = machines["api"].environment | {
            "DEPLOY_API_HOST": f"{LOOPBACK}:{api[0]}",
            "DEPLOY_ADMIN_HOST": f"{LOOPBACK}:{admin[0]}",
            "DEPLOY_KNOWN_HOSTS": str(folder / "known_hosts"),
            "DEPLOY_USER": getpass.getuser(),
            "DEPLOY_SSH_KEY": str(folder / "api" / "user_key"),
            "DEPLOY_API_URL": machines["api"].url,
            "DEPLOY_ADMIN_URL": machines["admin"].url,
            "DEPLOY_UPDATE": '"$CHECKOUT"/deploy/update.sh',
        }

        def call(version, **variables):
            done = subprocess.run(
                [PROJECT / "deploy" / "rollout.sh", version],
                env=environment | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout

        yield call


def running(machine):
    """The version that the machine says it runs, which its container must have as its image."""
    version = machine.script("update", "--running").strip()
    service = "fastapi" if machine.role == "api" else "django"
    assert machine.inspect(service)["Config"]["Image"].endswith(f":{version}")
    assert run(["git", "rev-parse", "HEAD"], cwd=machine.checkout).strip() == version
    assert machine.env()["IMAGE_TAG"] == version
    return version


def test_a_good_version_comes_under_load_and_with_its_configuration(place, api, admin, rollout):
    before = running(api)
    version = place.new_version("nginx/headers.conf", "add_header X-Version next always;")
    [key] = admin.make_keys(1, burst=100_000, requests_per_hour=1_000_000)
    rows = admin.rows()
    assert api.spend(key).status_code == 200
    with load(api, repeat(key)) as answers:
        code, said = rollout(version)
    assert code == 0, said
    assert {running(api), running(admin)} == {version}
    assert httpx.get(f"{api.url}/health", trust_env=False).headers["x-version"] == "next"
    # Until the new API answers, nginx says 503 and when to come again. Its own restart cuts some off.
    assert set(answers) <= {200, 503, 0}
    assert answers[200] > 100
    assert answers[0] < 50
    # A decision may have been recorded whose answer was cut off.
    spent = answers[200] + 1
    wait_for(lambda: spent <= (admin.rows() - rows)[200] <= spent + answers[0], 30)
    # One version back can be had without a registry.
    kept = docker("image", "ls", "--format", "{{.Tag}}", f"{place.name}/rate-limiter-api").split()
    assert sorted(kept) == sorted([before, version])


def test_a_broken_image_of_the_admin_leaves_the_api_alone(place, api, admin, rollout):
    before, container = running(admin), api.container("fastapi")
    version = place.new_version("README.md", broken="admin")
    code, said = rollout(version)
    assert code == 1, said
    assert f"{version[:12]} does not work; going back to {before[:12]}" in said
    assert f"rolled back: {before[:12]} runs" in said
    assert "the API was not touched" in said
    assert (running(admin), running(api), api.container("fastapi")) == (before, before, container)


def test_a_broken_api_takes_both_back(place, api, admin, rollout):
    before = running(api)
    [key] = admin.make_keys(1, burst=100)
    # Healthy, but not what clients are to see.
    version = place.new_version("nginx/routes-api.conf", "location = /admin/ { return 200; }")
    code, said = rollout(version)
    assert code == 1, said
    assert "/admin/: expected 404, got 200" in said
    assert f"rolled back: {before[:12]} runs" in said
    assert "both run what they ran before" in said
    assert {running(api), running(admin)} == {before}
    assert api.spend(key).status_code == 200
    assert httpx.get(f"{api.url}/admin/", trust_env=False).status_code == 404


def test_what_clients_do_not_reach_is_taken_back(api, admin, rollout):
    before = running(api)
    nobody = f"http://{LOOPBACK}:{free_port()}"
    code, said = rollout(before, DEPLOY_API_URL=nobody, DEPLOY_ASK_SECONDS="1")
    assert code == 1, said
    assert re.search(r"/health: expected 200 .*, got 000", said)
    assert {running(api), running(admin)} == {before}


@pytest.mark.parametrize(
    ("version", "variables", "message"),
    [
        ("no-such-version", {}, "no-such-version: expected a commit, a tag or a branch"),
        ("main; id", {}, "usage: rollout.sh VERSION"),
        ("main", {"DEPLOY_KNOWN_HOSTS": "/dev/null"}, "the admin cannot be reached; nothing has changed"),
        ("main", {"DEPLOY_API_HOST": ""}, "DEPLOY_API_HOST is not set"),
    ],
)
def test_what_cannot_begin_changes_nothing(api, admin, rollout, version, variables, message):
    before = running(api), running(admin)
    code, said = rollout(version, **variables)
    assert (code, message in said) == (1, True), said
    assert (running(api), running(admin)) == before


def test_one_update_at_a_time(api):
    hold = ["flock", api.state / "update.lock", "sh", "-c", "echo held; cat"]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        done = api.try_script("update", "main")
        holder.stdin.close()
    assert (done.returncode, "another update is at work" in done.stdout) == (1, True)
