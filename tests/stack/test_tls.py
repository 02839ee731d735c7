"""With a certificate nginx speaks HTTPS, and plain HTTP leads there."""

import ssl
import subprocess

import httpx
import pytest

from tests.waiting import wait_for

pytestmark = pytest.mark.slow

SELF_SIGNED = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")


def self_signed(name, key, certificate):
    """Write a key and a certificate for a host name."""
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    files = ("-keyout", key, "-out", certificate)
    subprocess.run([*SELF_SIGNED, *subject, *files], check=True, capture_output=True)


def restart(stack, **variables):
    """Start nginx and the admin anew, so that they see the files and variables of now."""
    stack.up(**variables)
    stack.compose("restart", "nginx", **variables)
    wait_for(lambda: stack.is_healthy("nginx"), 60)


@pytest.fixture(scope="module")
def https(stack):
    """A client that trusts the certificate of the test."""
    certificate, key = stack.tls / "fullchain.pem", stack.tls / "privkey.pem"
    self_signed("localhost", key, certificate)
    key.chmod(0o644)  # nginx is not root
    try:
        restart(stack, DJANGO_SECURE="true")
        context = ssl.create_default_context(cafile=certificate)
        with httpx.Client(base_url=stack.https_url, verify=context, trust_env=False) as http:
            yield http
    finally:
        certificate.unlink()
        key.unlink()
        restart(stack)


def test_a_key_is_spent_over_https(stack, https):
    [key] = stack.make_keys(1, burst=5)
    answer = https.post("/api/request", headers={"X-API-Key": key})
    assert answer.status_code == 200
    assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"]


def test_an_operator_logs_in_over_https(stack, https):
    page = https.get("/admin/login/")
    assert page.headers.get_list("strict-transport-security") == ["max-age=31536000"]
    fields = stack.operator | {"csrfmiddlewaretoken": https.cookies["csrftoken"], "next": "/admin/"}
    origin = {"Origin": stack.https_url, "Referer": f"{stack.https_url}/admin/login/"}
    answer = https.post("/admin/login/", data=fields, headers=origin)
    assert answer.status_code == 302
    cookies = answer.headers.get_list("set-cookie")
    assert cookies
    assert all("Secure" in cookie for cookie in cookies)


def test_plain_http_leads_to_https(stack, https):
    answer = httpx.get(f"{stack.url}/admin/?q=1", headers={"Host": "localhost:80"}, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (308, f"{stack.https_url}/admin/?q=1")
    [key] = stack.make_keys(1, burst=5)
    assert stack.spend(key).status_code == 308


def test_plain_http_answers_acme(stack, https):
    folder = stack.acme / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("answer")
    answer = httpx.get(f"{stack.url}/.well-known/acme-challenge/token", trust_env=False)
    assert (answer.status_code, answer.text) == (200, "answer")
    assert httpx.get(f"{stack.url}/.well-known/acme-challenge/other", trust_env=False).status_code == 404


def test_half_of_a_certificate_is_an_error(stack, https):
    key = stack.tls / "privkey.pem"
    hidden = key.rename(stack.tls / "hidden.pem")
    try:
        stack.compose("restart", "nginx")
        wait_for(
            lambda: (
                'cannot load certificate key "/etc/nginx/ratelimiter/tls/privkey.pem"' in stack.logs("nginx")
            )
        )
    finally:
        hidden.rename(key)
        stack.compose("restart", "nginx")
        wait_for(lambda: stack.is_healthy("nginx"), 60)
