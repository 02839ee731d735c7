from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.addresses import UNKNOWN, clean, client_number, truncated


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("203.0.113.0", "203.0.113.0"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("2001:db8::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("2002:cb00:714d::1", "203.0.113.0"),
    ],
)
def test_of_an_address_only_its_network_is_left(address, network):
    assert truncated(address) == network


@pytest.mark.parametrize("text", [None, "", "unknown", "203.0.113.7:80", "a" * 100])
def test_what_is_no_address_is_none(text):
    assert truncated(text) is clean(text) is None


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_of_a_network_looks_alike(address):
    network = ip_network(f"{address}/24", strict=False)
    assert {truncated(str(network[number])) for number in (0, 7, 255)} == {str(network[0])}


@given(st.ip_addresses())
def test_truncating_again_changes_nothing(address):
    once = truncated(str(address))
    assert ip_address(once)
    assert truncated(once) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
        ("203.0.113.9", "::ffff:203.0.113.9"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_addresses_of_one_client_have_one_number(one, other):
    assert client_number(one) == client_number(other) != UNKNOWN


@pytest.mark.parametrize(
    ("one", "other"),
    [("2001:db8:0:1::1", "2001:db8:0:2::1"), ("203.0.113.9", "203.0.113.8"), ("127.0.0.1", "::1")],
)
def test_addresses_of_different_clients_have_different_numbers(one, other):
    assert client_number(one) != client_number(other)


@pytest.mark.parametrize("address", [None, "", "unknown", "1.2.3"])
def test_all_without_an_address_are_one_client(address):
    assert client_number(address) == UNKNOWN
