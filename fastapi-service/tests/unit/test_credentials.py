from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.keys import credentials

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_key_has_its_documented_shape():
    key = credentials.generate("test")
    prefix, environment, random = key.split("_")
    assert (prefix, environment, len(random)) == ("rlk", "test", 49)
    assert credentials.is_well_formed(key)


def test_a_management_token_is_no_key_and_a_key_no_management_token():
    token = credentials.generate("test", credentials.MANAGEMENT_PREFIX)
    assert token.startswith("rlm_test_")
    assert credentials.is_well_formed(token, credentials.MANAGEMENT_PREFIX)
    assert not credentials.is_well_formed(token)
    assert not credentials.is_well_formed(credentials.generate(), credentials.MANAGEMENT_PREFIX)
    # The checksum covers the prefix, too.
    assert not credentials.is_well_formed("rlk" + token[3:])


def test_a_thousand_keys_are_all_different():
    assert len({credentials.generate() for _ in range(1000)}) == 1000


def test_the_checksum_is_crc32_in_base62():
    # Worked out apart from the code: zlib.crc32 of the body, in base 62, padded to six digits.
    body = "rlk_live_" + "0" * 43
    assert credentials.is_well_formed(body + "1fzt1e")


@given(position=st.integers(9, 57), replacement=st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(position, replacement):
    key = credentials.generate()
    changed = key[:position] + replacement + key[position + 1 :]
    assert credentials.is_well_formed(changed) is (changed == key)


@given(st.text())
def test_any_text_is_refused_without_an_error(text):
    assert not credentials.is_well_formed(text)


@given(st.text(ALPHABET, min_size=49, max_size=49))
def test_random_letters_are_refused(random):
    key = f"rlk_live_{random}"
    assert credentials.is_well_formed(key) is (credentials._checksum(key[:-6]) == key[-6:])


def test_the_hint_shows_eight_of_the_random_characters():
    key = credentials.generate()
    assert credentials.hint(key) == f"rlk_live_{key[9:13]}…{key[-4:]}"
    assert len(credentials.hint(key)) <= 32


def test_a_key_is_seen_in_a_text_and_a_hint_is_none():
    key = credentials.generate("test")
    for text in (key, f"/v1/x?key={key}", f"for {key[:30]}…", f"{key}@example.com"):
        assert credentials.stands_in(text)
    for text in ("", "billing", f"was {credentials.hint(key)}", "rlk_live_", "an rlk_-ish name"):
        assert not credentials.stands_in(text)


@given(st.integers(0, 58), st.integers(0, 2), st.text(max_size=3))
def test_a_key_that_was_changed_anywhere_is_refused(position, removed, inserted):
    key = credentials.generate()
    changed = key[:position] + inserted + key[position + removed :]
    assert credentials.is_well_formed(changed) is (changed == key)


def test_a_hint_tells_the_environment_unless_the_key_is_of_another_system():
    assert credentials.environment(credentials.hint(credentials.generate("test"))) == "test"
    assert credentials.environment("rlk_live_…") == "live"
    for foreign in ("", "sk_live_abc…", "sha256:3fa9c1d2…", "rlk_LIVE_x", "abc"):
        assert credentials.environment(foreign) is None
