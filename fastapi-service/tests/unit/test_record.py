from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.request_log.outbox import Entry
from ratelimiter.request_log.record import MalformedRecord, Record, decode, encode

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDPOINTS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200
)


@given(
    st.integers(1, 2**63 - 1),
    st.integers(1, 10**9),
    st.one_of(st.none(), st.ip_addresses().map(str)),
    ENDPOINTS,
    st.integers(0, 10**9),
)
def test_what_is_encoded_is_decoded(key_id, cost, client_ip, endpoint, remaining):
    known = encode(key_id, cost, client_ip, endpoint)
    record = decode(known, b"200 %d" % remaining, WHEN)
    expected_ip = client_ip and client_ip.partition("%")[0]
    assert record == Record(key_id, endpoint, 200, cost, remaining, expected_ip, WHEN)


def test_a_refused_key_leaves_no_remaining():
    assert decode(encode(7, 1, None, "/x"), b"403", WHEN).remaining is None


@pytest.mark.parametrize("address", ["unknown", "fe80::1%eth0", "1.2.3.4 5", "", "_hidden"])
def test_what_a_proxy_calls_an_address_never_spoils_the_record(address):
    assert decode(encode(7, 1, address, "/x"), b"200 1", WHEN).client_ip in {None, "fe80::1"}


@given(st.binary(), st.binary())
def test_any_bytes_are_a_record_or_malformed(known, outcome):
    try:
        record = decode(known, outcome, WHEN)
    except MalformedRecord:
        return
    assert record.status_code in {200, 403, 429}


@given(st.lists(st.binary(), max_size=9))
def test_any_fields_are_an_entry_or_malformed(fields):
    try:
        entry = Entry.parse(b"1-0", fields)
    except MalformedRecord:
        return
    assert entry.end == entry.position + len(fields) // 2 - 1


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (b"7 1 - " + b"x" * 201, b"200 1"),
        (b"7 1 - a\0b", b"200 1"),
        (b"7 0 - /x", b"200 1"),
        (b"7 1 - /x", b"500 1"),
        (b"7 1 - /x", b"200 -1"),
        (b"99999999999999999999 1 - /x", b"200 1"),
        (b"7 1 -", b"200 1"),
    ],
)
def test_what_would_not_fit_the_table_is_malformed(known, outcome):
    with pytest.raises(MalformedRecord):
        decode(known, outcome, WHEN)
