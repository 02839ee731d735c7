"""nginx: who answers what, what goes on to the services and what does not, and what is logged."""

import json
import re
from collections import Counter

import httpx
import pytest

from tests.waiting import wait_for

FORGED = "203.0.113.7"


def get(stack, path, **options):
    return httpx.get(stack.url + path, trust_env=False, **options)


def client_ip(stack, endpoint):
    """The address that the log has for the decision on an endpoint."""
    query = f"SELECT host(client_ip) FROM request_log WHERE endpoint = '{endpoint}'"  # noqa: S608  # names made here
    wait_for(lambda: stack.sql(query))
    return stack.sql(query)[0][0]


def spend(url, key, endpoint, **headers):
    answer = httpx.post(
        f"{url}/api/request",
        headers={"X-API-Key": key} | headers,
        json={"endpoint": endpoint},
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text


def test_a_key_from_the_admin_is_spent_and_its_rows_are_seen_there(stack, site):
    key_id, key = site.issue("walk", burst="5", requests_per_hour="5")
    assert [stack.spend(key).status_code for _ in range(7)] == [200] * 5 + [429] * 2

    def listed():
        log = site.get("/admin/api_manager/requestlog/", api_key=key_id)
        return Counter(re.findall(r'class="status status-(\d+)"', log))

    wait_for(lambda: listed() == {"200": 5, "429": 2})


@pytest.mark.parametrize("entrance", ["url", "api_url"])
def test_a_client_cannot_choose_its_address(stack, entrance):
    [key] = stack.make_keys(1, burst=5)
    endpoint = f"/forged/{entrance}"
    spend(
        getattr(stack, entrance), key, endpoint, **{"X-Forwarded-For": FORGED, "Forwarded": f"for={FORGED}"}
    )
    # On its way in from this host a connection takes the address of the network's gateway.
    assert client_ip(stack, endpoint) == f"{stack.network}.1"


def test_the_log_has_the_address_of_the_client_of_nginx(stack):
    [key] = stack.make_keys(1, burst=5)
    ask = (
        "from urllib.request import Request, urlopen;"
        "urlopen(Request('http://nginx:8080/api/request', b'{\"endpoint\": \"/inside\"}',"
        f" {{'X-API-Key': '{key}', 'X-Forwarded-For': '{FORGED}'}}))"
    )
    stack.execute("django", "python", "-c", ask)
    assert client_ip(stack, "/inside") == f"{stack.network}.12"


def test_the_audit_has_the_address_of_the_operator(stack, site):
    site.http.headers["X-Forwarded-For"] = FORGED
    try:
        site.issue("audited")
    finally:
        del site.http.headers["X-Forwarded-For"]
    addresses = stack.sql("SELECT DISTINCT host(client_ip) FROM audit_event WHERE actor LIKE 'admin:%'")
    assert addresses == [[f"{stack.network}.1"]]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 302),
        ("/admin", 301),
        ("/admin/login/", 200),
        ("/docs", 200),
        ("/docs/assets/swagger-ui.css", 200),
        ("/openapi.json", 200),
        ("/health", 200),
        ("/health/live", 200),
        ("/api/check", 401),
        ("/metrics", 404),
        ("/metrics/", 404),
        ("/admin/metrics", 302),  # to the login, as for any page of the admin
        ("/api/keys", 404),
        ("/api/keys/", 404),
        ("/api/keys/1", 404),
        ("/api//keys", 404),
        ("/api/./keys", 404),
        ("/api/%6Beys", 404),
        ("/docs/../api/keys", 404),
        ("/elsewhere", 404),
    ],
)
def test_who_is_reached_from_outside(stack, path, status):
    token = {"Authorization": f"Bearer {stack.values['ADMIN_API_TOKEN']}"}
    # As it stands: httpx would tidy the path before it sends it.
    url = httpx.URL(stack.url, raw_path=path.encode())
    with httpx.Client(trust_env=False) as http:
        assert http.get(url, headers=token).status_code == status


def test_the_management_api_is_reached_from_inside(stack):
    token = {"Authorization": f"Bearer {stack.values['ADMIN_API_TOKEN']}"}
    assert httpx.get(f"{stack.api_url}/api/keys", headers=token, trust_env=False).status_code == 200


def test_static_files_are_compressed_and_cached_for_ever(stack):
    page = get(stack, "/admin/login/").text
    path = re.search(r'href="(/static/api_manager/admin\.[0-9a-f]+\.css)"', page)[1]
    answer = get(stack, path)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/api/check", "/health/live", "/api/keys", "/elsewhere", "/"]
)
def test_every_answer_has_the_headers_once(stack, path):
    headers = get(stack, path).headers
    expected = {
        "referrer-policy": ["same-origin"],
        "x-content-type-options": ["nosniff"],
        "x-frame-options": ["DENY"],
        "strict-transport-security": [],
        "server": ["nginx"],
    }
    assert {name: headers.get_list(name) for name in expected} == expected
    assert re.fullmatch(r"[0-9a-f]{32}", ",".join(headers.get_list("x-request-id")))


def test_the_admins_policy_of_what_a_page_may_load_arrives_once(stack):
    (policy,) = get(stack, "/admin/login/").headers.get_list("content-security-policy")
    assert "script-src 'self' 'unsafe-eval';" in policy


def test_a_body_may_be_as_large_as_the_api_allows(stack):
    [key] = stack.make_keys(1, burst=5)

    def send(size):
        return httpx.post(
            f"{stack.url}/api/request", headers={"X-API-Key": key}, content=b"{}".ljust(size), trust_env=False
        )

    assert send(4096).status_code == 200
    ours, theirs = send(4097), httpx.post(f"{stack.api_url}/api/check", content=b" " * 4097, trust_env=False)
    assert (ours.status_code, ours.headers["content-type"]) == (413, "application/problem+json")
    assert ours.json().keys() == theirs.json().keys()


def test_a_request_is_one_json_line_with_its_id_and_without_its_query(stack):
    identifier = "stack-test.1"
    answer = get(stack, "/api/check?secret=in-the-query", headers={"X-Request-ID": identifier})
    assert answer.headers["x-request-id"] == identifier
    get(stack, "/api/check", headers={"X-Request-ID": "not an id"})

    def lines():
        found = re.findall(r'\{"time".*\}', stack.logs("nginx"))
        return [line for line in map(json.loads, found) if line["request_id"] == identifier]

    wait_for(lines)
    [line] = lines()
    assert (line["path"], line["status"], line["client_ip"]) == ("/api/check", 401, f"{stack.network}.1")
    assert "in-the-query" not in stack.logs()
    assert "not an id" not in stack.logs()


def test_a_key_in_the_wrong_place_is_in_no_line(stack):
    [key] = stack.make_keys(1, burst=5)
    identifier = "stack-test.2"
    for sent in (key, f"key-{key}"):
        get(stack, "/api/check", headers={"X-Request-ID": sent})
    get(stack, f"/{key}", headers={"X-Request-ID": identifier, "User-Agent": key})
    wait_for(lambda: identifier in stack.logs("nginx"))
    assert key not in stack.logs()


def test_both_services_are_scraped(stack):
    wait_for(lambda: len(stack.prometheus_query('up{job=~"api|admin"} == 1')) == 2, seconds=60)
