"""Whatever bytes a request has, it is answered as the OpenAPI document says, and never with a failure."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimiter.keys import credentials
from tests.servers import ADMIN_API_TOKEN

ELSEWHERE = {200, 307, 404, 405, 413, 501}
"""What is answered where the document has no operation; 200 and 307: the documentation and the way there."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["cost", "endpoint", "name", "tier", "owner_email", "burst", "expires_at", "is_active", "grace_seconds"]
)
NAMES = FIELDS | st.text(st.characters(codec=None), max_size=5)
MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.sampled_from([4102444800, "4102444800", "2090-01-01", "9999-12-31T23:59:59-14:00"]),
)
BODIES = st.one_of(
    st.just(b""),
    st.binary(max_size=60),
    st.dictionaries(NAMES, VALUES | MOMENTS | st.integers(1, 10**10), max_size=4).map(
        lambda fields: json.dumps(fields).encode()
    ),
    st.dictionaries(NAMES, VALUES, max_size=3).map(
        lambda fields: json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ),
    st.sampled_from([b"[" * 4096, b'{"cost": ' + b"9" * 4000 + b"}", b" " * 4097, b'{"cost": 1, "cost": 2}']),
)
# What the server lets pass: a length is of digits, no value has a control character, an address is ASCII.
LENGTHS = st.sampled_from([b"0", b"5", b"4097", b"1" * 19, b"0" * 5000 + b"5"])
TEXT = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40).map(
    lambda text: text.encode("latin-1")
)
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just(b"content-length"), LENGTHS),
        st.tuples(
            st.sampled_from([b"x-api-key", b"authorization", b"x-request-id", b"content-type", b"accept"]),
            TEXT | st.sampled_from([b"*/*", b"Bearer", b"Bearer \xff", b"Basic Og=="]),
        ),
    ),
    max_size=3,
)
QUERIES = st.one_of(
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30).map(str.encode),
    st.tuples(
        st.sampled_from([b"start", b"end", b"cursor", b"limit", b"%00"]),
        st.sampled_from(
            [b"%00", b"%ff", b"4102444800", b"%D9%A1", b"9" * 5000, b"2090-01-01", b"-1", b"1.0"]
        ),
    ).map(b"=".join),
)
KEY_IDS = st.sampled_from(["1", "2", "0", "-1", "9" * 5000, "٣", "1.0", "\x00", "\ufffd"])
PATHS = st.one_of(
    st.sampled_from(
        ["/api/request", "/api/check", "/api/keys", "/api/usage", "/health/live", "/openapi.json", "/"]
    ),
    st.builds("/api/keys/{}{}".format, KEY_IDS, st.sampled_from(["", "/rotate", "/reset", "/"])),
    st.text(max_size=20).map("/{}".format),
    st.just("*"),
)
METHODS = st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "QUERY", "PROPFIND"])


async def ask(app, *, method, path, query, headers, body):
    """Send a request as a server hands it over; returns status, headers and body of the answer."""
    parts = [{"type": "http.request", "body": b"", "more_body": False}]
    parts += [{"type": "http.request", "body": body, "more_body": True}] if body else []
    sent = []

    async def receive():
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("api.test", 80),
        "client": ("not an address", 1),
        "root_path": "",
        "method": method,
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "headers": [*headers, (b"transfer-encoding", b"chunked")] if body else headers,
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(part.get("body", b"") for part in sent[1:])


@pytest.fixture
async def trusted(issue):
    """The headers of whoever may do everything."""
    key = (await issue(requests_per_hour=10**9, burst=10**9))["key"]
    return [(b"x-api-key", key.encode()), (b"authorization", f"Bearer {ADMIN_API_TOKEN}".encode())]


@pytest.fixture
def documented(app):
    """The statuses of each operation: a list of path patterns, methods and statuses."""
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), method.upper(), set(map(int, operation["responses"])))
        for path, operations in app.management.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


@settings(
    max_examples=settings.default.max_examples * 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(METHODS, PATHS, QUERIES, HEADERS, BODIES, st.booleans())
async def test_whatever_is_sent_the_answer_is_a_documented_one(
    app, trusted, documented, method, path, query, headers, body, is_trusted
):
    if is_trusted:
        headers = [*trusted, *headers]
    status, answered, text = await ask(app, method=method, path=path, query=query, headers=headers, body=body)
    expected = [
        statuses for pattern, verb, statuses in documented if verb == method and pattern.fullmatch(path)
    ]
    assert status in (expected[0] - {500} if expected else ELSEWHERE)
    assert re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", answered[b"x-request-id"])
    if status >= 400:
        assert answered[b"content-type"] == b"application/problem+json"
        problem = json.loads(text)
        assert problem["status"] == status
        assert credentials.KEY_PREFIX + "_" not in problem["detail"]
