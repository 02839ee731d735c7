"""Whom the service believes: who the client is, and whether it came by HTTPS."""

from ipaddress import ip_address, ip_network

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import given
from hypothesis import strategies as st

from api_manager.client import client_ip
from config.middleware import ProxyMiddleware

OURS = tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7", "fd00::/8")))
SECURE = ("HTTP_X_FORWARDED_PROTO", "https")

proxies = st.sampled_from(["10.0.0.2", "10.255.0.1", "192.0.2.7", "fd00::7"])
strangers = st.ip_addresses().filter(lambda address: not any(address in network for network in OURS))
# What a header can hold once the server has decoded it.
header_text = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


def seen_client(peer, forwarded):
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    with override_settings(FORWARDED_ALLOW_IPS=OURS):
        return client_ip(request)


@given(client=strangers, forged=header_text, chain=st.lists(proxies, min_size=1))
def test_behind_any_number_of_our_proxies_the_client_is_found_whatever_it_forged(client, forged, chain):
    """Each proxy appends the address it saw; the last one is our peer."""
    *appended, peer = [str(client), *chain]
    assert seen_client(peer, ", ".join([forged, *appended])) == str(client).partition("%")[0]


@given(peer=strangers, forged=header_text | proxies)
def test_a_stranger_speaks_for_nobody(peer, forged):
    assert seen_client(str(peer), forged) == str(peer)


@given(peer=proxies, forwarded=header_text)
def test_whatever_a_proxy_sends_there_is_a_valid_address(peer, forwarded):
    assert ip_address(seen_client(peer, forwarded))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.2", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.2", "6.6.6.6, 1.1.1.1 ,10.0.0.3", "1.1.1.1"),
        ("10.0.0.2", "2001:DB8::1", "2001:db8::1"),
        ("10.0.0.2", "10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("10.0.0.2", "1.1.1.1, rubbish", "10.0.0.2"),
        ("10.0.0.2", "1.1.1.1,", "10.0.0.2"),
        ("10.0.0.2", "fe80::1%eth0", "fe80::1"),
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("", "1.1.1.1", None),
    ],
)
def test_the_client(peer, forwarded, expected):
    assert seen_client(peer, forwarded) == expected


@pytest.mark.parametrize(
    ("peer", "secure"), [("10.0.0.2", True), ("fd00::7", True), ("203.0.113.9", False), ("", False)]
)
def test_only_our_proxies_say_that_the_client_came_by_https(peer, secure):
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_PROTO="https")
    with override_settings(FORWARDED_ALLOW_IPS=OURS, SECURE_PROXY_SSL_HEADER=SECURE):
        assert ProxyMiddleware(lambda served: served.is_secure())(request) is secure
