"""`.local/env` is private, can be read by a shell, and is never half written."""

import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import environment
from local.errors import LocalError
from ratelimiter.keys import credentials

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(values=st.dictionaries(st.sampled_from(environment.KEYS), VALUES))
def test_what_is_saved_is_loaded(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "env"
    environment.save(path, values)
    assert environment.load(path) == values


def test_a_shell_reads_the_same(tmp_path):
    path = tmp_path / "env"
    secret = 'it\'s $HOME `id` "q" \\ #x\n  end'
    environment.save(path, {"ADMIN_API_TOKEN": secret, "API_URL": "http://127.0.0.1:8000"})
    script = '. "$0"; printf "%s|%s" "$ADMIN_API_TOKEN" "$API_URL"'
    result = subprocess.run(["/bin/sh", "-c", script, path], capture_output=True, text=True, check=True)
    assert result.stdout == f"{secret}|http://127.0.0.1:8000"


def test_only_its_owner_may_read_it_even_if_it_was_open_before(tmp_path):
    path = tmp_path / "env"
    path.write_text("")
    path.chmod(0o644)
    environment.save(path, {"API_URL": "x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["env"]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "env"
    environment.save(path, {"API_URL": "old"})

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        environment.save(path, {"API_URL": "new"})
    assert environment.load(path) == {"API_URL": "old"}
    assert [file.name for file in tmp_path.iterdir()] == ["env"]


def test_there_is_nothing_in_a_file_that_is_not_there(tmp_path):
    assert environment.load(tmp_path / "env") == {}


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "env"
    path.write_text("API_URL='open\n")
    with pytest.raises(LocalError, match=r"env is damaged"):
        environment.load(path)


def test_secrets_are_made_once_and_differ_between_clones():
    first = environment.with_secrets({})
    assert environment.with_secrets(first) == first
    other = environment.with_secrets({})
    for name in ("ADMIN_API_TOKEN", "API_TOKEN", "DJANGO_SECRET_KEY", "DJANGO_SUPERUSER_PASSWORD"):
        assert first[name] != other[name]
        assert len(first[name]) >= 16


def test_the_token_of_the_admin_is_one_that_the_api_knows_the_form_of():
    for _ in range(20):
        token = environment.new_management_token()
        assert credentials.is_well_formed(token, credentials.MANAGEMENT_PREFIX)
