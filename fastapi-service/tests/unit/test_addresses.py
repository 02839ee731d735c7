import pytest

from ratelimiter.addresses import UNKNOWN, client_number


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
