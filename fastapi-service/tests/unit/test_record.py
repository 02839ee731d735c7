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
    assert record._replace(decision_id=None) == Record(
        key_id, endpoint, 200, cost, remaining, expected_ip, WHEN
    )


def test_a_refused_key_leaves_no_remaining():
    assert decode(encode(7, 1, None, "/x"), b"403", WHEN).remaining is None


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**31 - 1))
def test_a_denial_may_stand_for_many(remaining, count):
    record = decode(encode(7, 1, None, "/x"), b"429 %d %d" % (remaining, count), WHEN)
    assert record._replace(decision_id=None) == Record(7, "/x", 429, 1, remaining, None, WHEN, count)


def test_each_decision_has_an_id_of_its_own():
    ids = {decode(encode(7, 1, None, "/x"), b"200 1", WHEN).decision_id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(0 <= decision_id < 2**63 for decision_id in ids)


def test_what_was_recorded_before_decisions_had_ids_is_read():
    assert decode(b"7 1 - /x y", b"200 1", WHEN) == Record(7, "/x y", 200, 1, 1, None, WHEN)


def test_a_record_that_comes_late_keeps_its_time_and_may_be_a_double():
    tick = 16_000_000
    record = decode(encode(7, 1, None, "/x"), b"429 0 5 @%d" % (3600 * tick), WHEN)
    assert (record.timestamp, record.count) == (datetime(2025, 1, 1, 1, tzinfo=UTC), 5)
    assert record.may_be_double
    assert not decode(encode(7, 1, None, "/x"), b"429 0 5", WHEN).may_be_double


@pytest.mark.parametrize(
    "known",
    [b"7 1 -%zz /x", b"7 1 -%ffffffffffffffff /x", b"7 1 -%+1 /x", b"7 1 -%1_0 /x", b"7 1 -%\xff /x"],
)
def test_an_id_that_cannot_be_read_is_malformed(known):
    with pytest.raises(MalformedRecord):
        decode(known, b"200 1", WHEN)


@pytest.mark.parametrize(
    "outcome",
    [b"200 1 @", b"200 1 @x", b"200 1 @-1", b"200 1 @9223372036854775807", b"200 1 @9007199254740993", b"@5"],
)
def test_a_time_that_cannot_be_read_is_malformed(outcome):
    with pytest.raises(MalformedRecord):
        decode(encode(7, 1, None, "/x"), outcome, WHEN)


def test_a_record_stands_for_one_request_where_it_says_nothing():
    for outcome in (b"200 3", b"429 3", b"403"):
        assert decode(encode(7, 1, None, "/x"), outcome, WHEN).count == 1


@pytest.mark.parametrize(
    "outcome",
    [
        *(b"429 0 0", b"429 0 -1", b"429 0 %d" % 2**31, b"429 0 ", b"429 0 x", b"429 0 1.5", b"429 0 1 1"),
        *(b"200 0 2", b"200 0 1", b"403 2", b"403 0 2"),
        *(
            b"",
            b"200",
            b"429",
            b"200 ",
            b" 200 1",
            b"200 +1",
            b"200 1_0",
            b"200 \xd9\xa1",
            b"0200 1",
            b"200 1\n",
            b"200 1 +minute",
            b"403 +minute",
            b"429 1 minute",
            b"429 1 +",
            b"429 1 +Minute",
            b"429 1 +a,b",
            b"429 1  +a",
            b"429 1 +%b" % (b"a" * 32),
        ),
        b"200 %d" % 2**63,
    ],
)
def test_only_what_the_script_writes_is_an_outcome(outcome):
    with pytest.raises(MalformedRecord):
        decode(encode(7, 1, None, "/x"), outcome, WHEN)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (b"429 3 +minute", (429, 3, 1, ("minute",))),
        (b"429 3 7 +minute +default ~tried @16000000", (429, 3, 7, ("minute", "default", "~tried"))),
        (b"200 3 ~tried", (200, 3, 1, ("~tried",))),
    ],
)
def test_an_outcome_names_the_limits_that_had_no_room(outcome, expected):
    record = decode(encode(7, 1, None, "/x"), outcome, WHEN)
    assert (record.status_code, record.remaining, record.count, record.violated) == expected


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
    "head", [b"1 1", b"1 -1 1", b"1 99999999999999999 1", b"\xff 1 1", b"1 1 4611686018427387904"]
)
def test_a_head_that_cannot_be_read_spoils_its_entry_alone(head):
    with pytest.raises(MalformedRecord):
        Entry.parse(b"1-0", [b"head", head, encode(7, 1, None, "/x"), b"200 1"])


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
        (b"7 1000000001 - /x", b"200 1"),
        (b"7 1 \xff /x", b"200 1"),
        (b"7 1 - \xff", b"200 1"),
    ],
)
def test_what_would_not_fit_the_table_is_malformed(known, outcome):
    with pytest.raises(MalformedRecord):
        decode(known, outcome, WHEN)
