from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.keys import credentials, foreign
from ratelimiter.keys.foreign import Format, Formats

STRIPE = Format("sk_live_", 32, 40, "base62")
HASH = Format("", 64, 64, "hex")
UUID = Format("", 36, 36, "base64url")


@pytest.mark.parametrize(
    ("format_", "key", "is_included"),
    [
        (STRIPE, "sk_live_" + "a" * 24, True),
        (STRIPE, "sk_live_" + "Z9" * 16, True),
        (STRIPE, "sk_live_" + "a" * 23, False),
        (STRIPE, "sk_live_" + "a" * 33, False),
        (STRIPE, "sk_test_" + "a" * 24, False),
        (STRIPE, "sk_live_" + "a" * 23 + "-", False),
        (STRIPE, "sk_live_" + "a" * 24 + "\n", False),
        (STRIPE, "xsk_live_" + "a" * 24, False),
        (HASH, "0aF9" * 16, True),
        (HASH, "g" * 64, False),
        (HASH, "0aF9" * 16 + "0", False),
        (UUID, "9d3f5a52-8c3e-4b1e-9d2f-0a1b2c3d4e5f", True),
        (Format("a.b*", 20, 20, "visible"), "a.b*" + "!~" * 8, True),
        (Format("a.b*", 20, 20, "visible"), "aXbb" + "!~" * 8, False),
        (Format("", 20, 20, "visible"), "a" * 19 + " ", False),
        (Format("", 20, 20, "visible"), "a" * 19 + "é", False),
    ],
)
def test_a_format_is_a_prefix_a_length_and_an_alphabet(format_, key, is_included):
    assert Formats([format_]).include(key) is is_included
    assert Formats([Format("other_", 30, 40, "hex"), format_]).include(key) is is_included


@given(st.text())
def test_without_a_format_nothing_is_foreign(text):
    assert not Formats([]).include(text)


@pytest.mark.parametrize("prefix", [credentials.KEY_PREFIX, credentials.MANAGEMENT_PREFIX])
def test_what_begins_like_ours_is_never_foreign(prefix):
    wide = Formats([Format("", 16, foreign.MAX_LENGTH, "visible"), Format("rl", 20, 200, "visible")])
    for formats in (wide, foreign.ANY):
        assert not formats.include(credentials.generate(prefix=prefix))
        assert not formats.include(f"{prefix}_garbage_of_some_length")
        assert formats.include("rlx_garbage_of_some_length")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=200))
def test_until_the_formats_are_read_whatever_could_have_one_is_foreign(text):
    assert foreign.ANY.include(text) is not text.startswith(("rlk_", "rlm_"))


def test_many_formats_cost_little_even_for_what_almost_fits():
    many = Formats([Format("sk_" * 10, 60 + n, 200, "visible") for n in range(20)])
    nearly = "sk_" * 10 + "a" * 169 + " "

    def seconds(formats):
        began = perf_counter()
        for _ in range(200):
            assert not formats.include(nearly)
        return perf_counter() - began

    # Linear in the number of formats, with room for a noisy machine: nothing is tried again and again.
    one = Formats([Format("sk_" * 10, 60, 200, "visible")])
    assert min(seconds(many) for _ in range(3)) < 200 * min(seconds(one) for _ in range(3))
