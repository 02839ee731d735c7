"""`make env` writes a `.env` that is private and complete, and keeps every value that is there."""

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest

from local import dotenv
from tests.servers import PROJECT

COMPOSE = (PROJECT / "docker-compose.yml").read_text(encoding="utf-8")
TEMPLATE = (PROJECT / ".env.example").read_text(encoding="utf-8")


def values(folder):
    text = (folder / ".env").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


@pytest.fixture
def folder(tmp_path):
    shutil.copy(PROJECT / ".env.example", tmp_path)
    return tmp_path


def test_every_value_that_compose_requires_is_made(folder):
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    given = dotenv.write(folder)
    assert required <= set(given)
    made = values(folder)
    assert {name: made[name] for name in given if not re.fullmatch(r"[\w.@-]+", made[name])} == {}
    secrets = [made[name] for name in required]
    assert len(set(secrets)) == len(secrets)
    assert min(map(len, secrets)) >= 16


def test_the_template_names_every_variable_of_compose_with_its_default():
    lines = dict(re.findall(r"^#?(\w+)=(.*)$", TEMPLATE, re.MULTILINE))
    variables = set(re.findall(r"\$\{(\w+)(:[-?])([^}]*)\}", COMPOSE))
    assert {name for name, _, _ in variables} - set(lines) == set()
    different = {
        name for name, kind, default in variables if kind == ":-" and lines.get(name, default) != default
    }
    assert different == set()


def test_the_rest_of_the_template_stays(folder):
    given = dotenv.write(folder)
    kept = [line for line in TEMPLATE.splitlines() if line.lstrip("#").partition("=")[0] not in given]
    written = (folder / ".env").read_text(encoding="utf-8").splitlines()
    assert [line for line in written if line.partition("=")[0] not in given] == kept


def test_a_second_run_changes_nothing(folder):
    dotenv.write(folder)
    before = values(folder)
    assert dotenv.write(folder) == []
    assert values(folder) == before


@pytest.mark.parametrize(
    "line", ["REDIS_PASSWORD=mine", "export REDIS_PASSWORD=mine", "REDIS_PASSWORD= mine"]
)
def test_what_is_missing_is_added_and_what_is_there_stays(folder, line):
    (folder / ".env").write_text(f"# my own\n{line}\nADMIN_API_TOKEN=\nGRAFANA_ADMIN_PASSWORD=''\n")
    given = dotenv.write(folder)
    text = (folder / ".env").read_text(encoding="utf-8")
    assert text.startswith(f"# my own\n{line}\nADMIN_API_TOKEN=")
    assert "REDIS_PASSWORD" not in given
    assert {"ADMIN_API_TOKEN", "GRAFANA_ADMIN_PASSWORD", "POSTGRES_PASSWORD"} <= set(given)
    assert all(len(values(folder)[name]) >= 8 for name in given)


def test_only_its_owner_may_read_it_even_if_it_was_open_before(folder):
    (folder / ".env").write_text("")
    (folder / ".env").chmod(0o644)
    dotenv.write(folder)
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir()} == {".env", ".env.example"}


def test_the_command_needs_nothing_but_python_and_prints_no_secret(folder):
    shutil.copytree(PROJECT / "local", folder / "local")
    # -S: no packages; -I would hide the folder of the module, too.
    command = [sys.executable, "-S", "-m", "local.dotenv"]
    environment = {"PATH": os.environ["PATH"]}
    said = [
        subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert "new values for ADMIN_API_TOKEN, API_TOKEN, DJANGO_SECRET_KEY, WEBHOOK_SECRET_KEY" in said[0]
    assert "no value was changed" in said[1]
    assert "docker compose up" in said[0]
    made = values(folder)
    for name in re.findall(r"\$\{(\w+):\?", COMPOSE):
        assert made[name] not in "".join(said)
    for name in ("DJANGO_SUPERUSER_PASSWORD", "API_TOKEN"):
        assert made[name] not in "".join(said)


def test_values_are_put_in_place_of_their_lines_and_the_rest_is_made(folder):
    (folder / ".env").write_text(
        "#IMAGE_TAG=older\nIMAGE_TAG=old\nREDIS_PASSWORD=mine\n#BIND_ADDRESS=127.0.0.1\n"
    )
    lines = ["IMAGE_TAG=new\n", "BIND_ADDRESS=10.0.0.10\n", "IMAGE_PREFIX=\n", "OTHER=a,b/c:d"]
    given = dotenv.write(folder, dotenv.parse(lines))
    text = (folder / ".env").read_text(encoding="utf-8")
    assert text.startswith("#IMAGE_TAG=older\nIMAGE_TAG=new\nREDIS_PASSWORD=mine\nBIND_ADDRESS=10.0.0.10\n")
    assert values(folder).items() >= {"IMAGE_PREFIX": "", "OTHER": "a,b/c:d"}.items()
    assert "POSTGRES_PASSWORD" in given
    assert "REDIS_PASSWORD" not in given


@pytest.mark.parametrize(
    "line", ["secret", "name=secret", "NAME=secret secret", 'NAME="secret"', "NAME=$secret"]
)
def test_a_line_that_compose_would_read_otherwise_is_refused_unquoted(line):
    with pytest.raises(ValueError, match="line 2: expected NAME=value") as refused:
        dotenv.parse(["A=b\n", line])
    assert "secret" not in str(refused.value)


def test_a_folder_without_a_template_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.env\.example"):
        dotenv.write(tmp_path)


def test_git_ignores_it():
    ignored = (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored
