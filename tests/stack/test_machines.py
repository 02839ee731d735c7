"""Two machines: the API's reaches the admin's PostgreSQL over TLS, and each shows outside what is its own."""

import os
import shutil
import ssl
import subprocess

import httpx
import pytest

from local.ports import LOOPBACK
from tests.site import Site
from tests.stack.machines import run
from tests.stack.stack import docker
from tests.stack.test_tls import self_signed
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

S_CLIENT = ("openssl", "s_client", "-starttls", "postgres", "-connect")
CONNECT = """
import os, sys, psycopg2
url = os.environ["API_DATABASE_URL"]
for old, new in zip(sys.argv[1::2], sys.argv[2::2]):
    url = url.replace(old, new)
psycopg2.connect(url, connect_timeout=5).close()
"""


@pytest.fixture(scope="module")
def site(admin):
    """The operator, logged in through nginx of the admin's machine, by an SSH tunnel as it were."""
    site = Site({**admin.env(), "ADMIN_URL": admin.url})
    yield site
    site.http.close()


def test_a_key_from_the_admin_works_at_the_api_until_it_is_revoked(api, admin, site):
    key_id, key = site.issue("walk", burst="5", requests_per_hour="5")
    assert api.spend(key).status_code == 200
    admin.sql(f"UPDATE api_key SET revoked_at = now(), is_active = false WHERE id = {key_id}")  # noqa: S608
    wait_for(lambda: api.spend(key).status_code == 403)
    admitted = f"SELECT count(*) FROM request_log WHERE api_key_id = {key_id} AND status_code = 200"  # noqa: S608
    wait_for(lambda: int(admin.sql(admitted)[0][0]) >= 1)


def test_all_that_the_api_has_with_postgresql_is_tls(api, admin):
    query = """SELECT DISTINCT application_name, ssl, version
        FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'ratelimiter_api'"""

    def connections():
        return {tuple(row) for row in admin.sql(query)}

    names = {"ratelimiter-api", "ratelimiter-key-news", "ratelimiter-drain"}
    wait_for(lambda: {name for name, _, _ in connections()} == names, 30)
    assert {(ssl, version) for _, ssl, version in connections()} == {("t", "TLSv1.3")}


@pytest.mark.parametrize(
    ("instead", "message"),
    [
        (("verify-full", "disable"), "no encryption"),
        (("/etc/ratelimiter/postgres-ca.pem", "/etc/ssl/certs/ca-certificates.crt"), "verify failed"),
        (("@postgres:", "@other:", "?", "?hostaddr=ADDRESS&"), "does not match host name"),
    ],
)
def test_postgresql_is_reached_in_no_other_way(api, admin, instead, message):
    changes = [text.replace("ADDRESS", admin.address) for text in instead]
    with pytest.raises(AssertionError, match=message):
        api.execute("fastapi", "python", "-c", CONNECT, *changes)


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("api", "/health", 200),
        ("api", "/docs", 200),
        ("api", "/api/check", 401),
        ("api", "/api/keys", 404),
        ("api", "/", 404),
        ("api", "/admin/", 404),
        ("api", "/static/admin/css/base.css", 404),
        ("admin", "/", 302),
        ("admin", "/admin/login/", 200),
        ("admin", "/api/check", 404),
        ("admin", "/api/keys", 404),
        ("admin", "/docs", 404),
        ("admin", "/health", 404),
        ("admin", "/metrics", 404),
    ],
)
def test_each_machine_shows_its_own(machines, role, path, status):
    machine = machines[role]
    assert httpx.get(machine.url + path, trust_env=False).status_code == status


def test_prometheus_sees_both(api):
    wait_for(lambda: len(api.prometheus_query('up{job=~"api|admin"} == 1')) == 2, seconds=60)


def test_the_management_api_and_the_metrics_are_at_the_private_addresses(api, admin):
    token = {"Authorization": f"Bearer {admin.env()['ADMIN_API_TOKEN']}"}
    answer = httpx.get(f"http://{api.address}:8000/api/keys", headers=token, trust_env=False)
    assert answer.status_code == 200
    metrics = f"http://{admin.address}:8001/metrics"
    assert httpx.get(metrics, headers={"Host": "django"}, trust_env=False).status_code == 200


def test_the_machines_share_two_secrets_and_no_more(api, admin):
    ours, theirs = api.env(), admin.env()
    secrets = [name for name in ours if name.endswith(("PASSWORD", "TOKEN", "KEY"))]
    assert {name for name in secrets if ours[name] == theirs[name]} == {
        "API_DATABASE_PASSWORD",
        "ADMIN_API_TOKEN",
    }
    assert ours["OWNER_DATABASE_PASSWORD"] == theirs["REDIS_PASSWORD"] == "not-on-this-machine"


def test_a_second_boot_changes_nothing(api, admin):
    before = {machine.role: machine.env() for machine in (api, admin)}
    ids = {service: api.container(service) for service in ("redis", "fastapi", "nginx", "prometheus")}
    for machine in (admin, api):
        machine.script("environment")
        machine.script("start")
    api.script("handover", "fetch")
    assert {machine.role: machine.env() for machine in (api, admin)} == before
    assert {service: api.container(service) for service in ids} == ids


def test_a_new_ca_restarts_the_api_and_the_same_one_does_not(api):
    authority = api.settings / "postgres-ca.pem"
    present, container = authority.read_text(), api.container("fastapi")
    authority.write_text("of the machine before")
    api.script("handover", "fetch")
    assert authority.read_text() == present
    assert f"{authority} is newer than fastapi" in api.script("start")
    api.execute("fastapi", "python", "-c", CONNECT)
    api.script("handover", "fetch")
    assert "newer" not in api.script("start")
    assert api.container("fastapi") == container


def test_back_is_what_the_last_update_replaced_by_its_own_tag(place, api):
    version = run(["git", "rev-parse", "HEAD"], cwd=api.checkout).strip()
    image, first = (f"{place.name}/rate-limiter-api:{tag}" for tag in (version, "first"))
    docker("tag", image, first)
    replaced = api.state / "before"
    replaced.unlink(missing_ok=True)
    assert "no update has replaced anything yet" in api.try_script("update", "--back").stdout
    (api.state / "running").write_text(f"{version} first\n")
    api.set_env(IMAGE_TAG="first")
    api.script("start")
    api.script("update", version)
    assert replaced.read_text() == f"{version} first\n"
    for _ in range(2):
        api.script("update", "--back")
        assert (api.state / "running").read_text() == f"{version} first\n"
        assert api.inspect("fastapi")["Config"]["Image"] == first
    api.script("update", version)
    assert api.inspect("fastapi")["Config"]["Image"] == image


def certificate(admin):
    """What PostgreSQL shows to one who asks for TLS."""
    asked = subprocess.run(
        [*S_CLIENT, f"{admin.address}:5432"],
        input="",
        capture_output=True,
        text=True,
        check=True,
    )
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + asked.stdout.partition(begin)[2].partition(end)[0] + end)


def test_a_new_certificate_is_shown_at_once_and_trusted_by_the_api(api, admin):
    before = certificate(admin)
    assert admin.script("postgres-certificate") == ""
    assert certificate(admin) == before
    (admin.settings / "postgres-tls" / "server.crt").unlink()
    assert "made the certificate" in admin.script("postgres-certificate")
    wait_for(lambda: certificate(admin) != before)
    api.execute("fastapi", "python", "-c", CONNECT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give nginx's user a file")
def test_certbots_hook_takes_nginx_to_https_and_then_from_one_certificate_to_the_next(api, tmp_path):
    host, text = api.settings / "host.env", (api.settings / "host.env").read_text()
    port = int(api.env()["HTTPS_PORT"])
    certbot = tmp_path / "letsencrypt"

    def call(domain):
        host.write_text(text.replace("API_DOMAIN=\n", f"API_DOMAIN={domain}\n"))

    def install(*, by="install", name="api.example.com"):
        lineage = certbot / "live" / name
        lineage.mkdir(parents=True, exist_ok=True)
        self_signed(name, lineage / "privkey.pem", lineage / "fullchain.pem")
        said = api.script("web-certificate", by, RENEWED_LINEAGE=str(lineage), CERTBOT_DIR=str(certbot))
        assert f"nginx has the certificate of {name}" in said
        expected = ssl.PEM_cert_to_DER_cert((lineage / "fullchain.pem").read_text())
        wait_for(lambda: ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((LOOPBACK, port))) == expected)

    call("api.example.com")
    try:
        install()
        assert httpx.get(api.url, trust_env=False).status_code == 308
        api.script("smoke")
        container = api.container("nginx")
        started = api.inspect("nginx")["State"]["StartedAt"]
        install()
        assert (api.container("nginx"), api.inspect("nginx")["State"]["StartedAt"]) == (container, started)
        # A certificate of another name is none of ours.
        (tmp_path / "other").mkdir()
        assert api.script("web-certificate", "install", RENEWED_LINEAGE=str(tmp_path / "other")) == ""
        # Another domain takes another one, once.
        call("new.example.com")
        install(by="issue", name="new.example.com")
        assert api.script("web-certificate", "issue", CERTBOT_DIR=str(certbot)) == ""
    finally:
        host.write_text(text)
        shutil.rmtree(api.settings / "nginx-tls")
        api.compose("rm", "--stop", "--force", "nginx")
        api.script("start")


def test_what_is_wrong_with_the_settings_is_named(admin):
    def refusal(line):
        name = line.partition("=")[0]
        text = (admin.settings / "host.env").read_text()
        kept = [each for each in text.splitlines() if not each.startswith(f"{name}=")]
        folder = admin.state / "wrong"
        folder.mkdir(exist_ok=True)
        (folder / "host.env").write_text("\n".join([*kept, line, ""]))
        done = admin.try_script("smoke", SETTINGS_DIR=str(folder))
        assert done.returncode == 1
        return done.stdout

    assert "ROLE: expected api or admin, got 'both'" in refusal("ROLE=both")
    assert "API_PRIVATE_IP: expected an IPv4 address, got 'api'" in refusal("API_PRIVATE_IP=api")
    assert "expected a host name, got 'https://example.com'" in refusal("ADMIN_DOMAIN=https://example.com")


def test_the_api_waits_for_what_the_admin_hands_over(api):
    shutil.move(api.storage / "handover", api.storage / "away")
    try:
        done = api.try_script("handover", "fetch", WAIT_SECONDS="0")
    finally:
        shutil.move(api.storage / "away", api.storage / "handover")
    assert done.returncode == 1
    assert "nothing in handover after 0 s" in done.stdout
