"""Both services carry the module that reads networks; the two must stay one, and say what PostgreSQL says."""

import ast

import psycopg2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from api_manager import cidrs as of_the_admin
from ratelimiter.keys import cidrs
from tests.servers import PROJECT

PATHS = (
    PROJECT / "fastapi-service" / "ratelimiter" / "keys" / "cidrs.py",
    PROJECT / "django-admin" / "api_manager" / "cidrs.py",
)
GOOD = {
    "10.0.0.0/8": "10.0.0.0/8",
    " 192.0.2.7 ": "192.0.2.7/32",
    "0.0.0.0/0": "0.0.0.0/0",
    "2001:DB8::/32": "2001:db8::/32",
    "2001:db8::1": "2001:db8::1/128",
    "::/0": "::/0",
}
WRONG = {
    "10.0.0.1/8": "10.0.0.1/8: did you mean 10.0.0.0/8?",
    "2001:db8::1/32": "2001:db8::1/32: did you mean 2001:db8::/32?",
    "::ffff:10.0.0.0/104": "::ffff:10.0.0.0/104: did you mean 10.0.0.0/8?",
    "::ffff:192.0.2.7": "::ffff:192.0.2.7: did you mean 192.0.2.7/32?",
    **{
        text: f"{text}: must be an IP address or a network such as 10.0.0.0/8"
        for text in ("10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "fe80::%eth0/64", "office", "/8")
    },
    "": "(empty): must be an IP address or a network such as 10.0.0.0/8",
    "x" * 51: f"{'x' * 50}…: must be an IP address or a network such as 10.0.0.0/8",
}


def test_the_code_is_the_same():
    def code(path):
        module = ast.parse(path.read_text(encoding="utf-8"))
        return ast.dump(ast.Module(module.body[1:], []))  # the docstring names the other service

    assert code(PATHS[0]) == code(PATHS[1])


@pytest.mark.parametrize("module", [cidrs, of_the_admin])
def test_a_network_is_read_or_its_error_says_what_was_meant(module):
    assert {text: str(module.parse(text)) for text in GOOD} == GOOD
    for text, message in WRONG.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is what is tested
            module.parse(text)
        assert str(caught.value) == message


def test_postgresql_takes_what_is_read_and_writes_it_the_same(database):
    [(written,)] = database.sql("SELECT %s::cidr[]::text[]", list(GOOD.values()))
    assert written == list(GOOD.values())


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_network_holds_its_addresses_and_no_others(address, length):
    assume(getattr(address, "ipv4_mapped", None) is None)
    network = cidrs.parse(str(address)).supernet(new_prefix=min(length, address.max_prefixlen))
    assert cidrs.contain([network], str(address))
    if network.prefixlen:
        outside = type(address)(int(address) ^ 1 << (address.max_prefixlen - network.prefixlen))
        assert not cidrs.contain([network], str(outside))


def test_a_mapped_address_is_the_one_of_ipv4_that_it_stands_for():
    networks = [cidrs.parse("10.0.0.0/8"), cidrs.parse("2001:db8::/32")]
    for inside in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7", "2001:db8::7%eth0"):
        assert cidrs.contain(networks, inside)
    for outside in ("11.1.2.3", "::ffff:11.1.2.3", "2001:db9::7", "::10.1.2.3", "client", ""):
        assert not cidrs.contain(networks, outside)
    assert not cidrs.contain([cidrs.parse("::/0")], "::ffff:10.1.2.3")


def test_no_hand_can_store_what_could_not_be_read(database):
    def store(value):
        database.sql(
            "INSERT INTO api_key (name, hint, digest, tier_id, allowed_cidrs)"  # noqa: S608  # ours
            f" SELECT 'k', 'h', sha256('k'), id, {value} FROM tier LIMIT 1"
        )

    for value in ("'{10.0.0.0/8,NULL}'", "'{{10.0.0.0/8}}'", "array_fill('10.0.0.0/8'::cidr, ARRAY[51])"):
        with pytest.raises((psycopg2.errors.CheckViolation, psycopg2.errors.FeatureNotSupported)):
            store(value)
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
        store("'{10.0.0.1/8}'")
    store("array_fill('10.0.0.0/8'::cidr, ARRAY[50])")
