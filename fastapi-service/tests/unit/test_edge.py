import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter import addresses
from ratelimiter.api import edge
from ratelimiter.errors import BodyTooLarge

ANNOUNCED = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.integers(0, 2 * edge.MAX_BODY_BYTES).map(b"%d".__mod__),
    st.sampled_from([b"0" * 5000 + b"5", b"9" * 5000]),
)
PARTS = st.lists(st.binary(max_size=2 * edge.MAX_BODY_BYTES), max_size=4)


@given(st.lists(st.tuples(st.sampled_from([b"x-request-id", b"cookie"]), st.binary(max_size=80)), max_size=3))
def test_whatever_is_sent_a_request_id_is_harmless(headers):
    assert re.fullmatch("[A-Za-z0-9._-]{1,64}", edge.request_id(edge.headers_of({"headers": headers})))


@given(st.one_of(st.none(), st.text(), st.ip_addresses(v=6).map("{}%zone".format)))
def test_whatever_a_proxy_sends_is_an_address_or_none(text):
    address = addresses.clean(text)
    assert address is None or addresses.clean(address) == address


@given(ANNOUNCED, PARTS, st.booleans())
async def test_whatever_is_announced_a_body_is_read_whole_or_refused(announced, parts, is_chunked):
    headers = {b"transfer-encoding": b"chunked"} if is_chunked else {}
    if announced is not None:
        headers[b"content-length"] = announced
    pending = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    pending.append({"type": "http.request", "body": b"", "more_body": False})
    messages = iter(pending)

    async def receive():
        return next(messages)

    try:
        body = await edge.read_body(headers, receive)
    except BodyTooLarge:
        assert (announced or b"").isdigit() or sum(map(len, parts)) > edge.MAX_BODY_BYTES
    else:
        assert body in {b"", b"".join(parts)}
        assert len(body) <= edge.MAX_BODY_BYTES


@pytest.mark.parametrize("announced", [b"0" * 5000 + b"5", b"5"])
async def test_a_length_is_a_length_however_many_zeros_lead_it(announced):
    async def receive():
        return {"type": "http.request", "body": b"12345"}

    assert await edge.read_body({b"content-length": announced}, receive) == b"12345"
