"""What the documents say of the environment is what the services read."""

import re

import pytest

from config.environment import Environment
from ratelimiter.settings import Settings
from tests.servers import PROJECT

API = {name.upper(): field for name, field in Settings.model_fields.items()}
ADMIN = {name.upper(): field for name, field in Environment.model_fields.items()}
README = (PROJECT / "README.md").read_text(encoding="utf-8")
TEMPLATE = (PROJECT / ".env.example").read_text(encoding="utf-8")


def section(title):
    return README.split(f"**{title}**", 1)[1].split("\n**", 1)[0]


def documented(text):
    """The variables of a table's first column, with their defaults."""
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", text, re.MULTILINE)
    return {name: default.strip("`") for names, default in rows for name in re.findall(r"`(\w+)`", names)}


@pytest.mark.parametrize(("title", "fields"), [("API", API), ("Admin", ADMIN)])
def test_the_readme_names_every_setting_with_its_default(title, fields):
    table = documented(section(title))
    # The operator's account is read by one command, not by the service.
    assert {name for name in table if not name.startswith("DJANGO_SUPERUSER_")} == set(fields)
    for name, field in fields.items():
        if field.is_required():
            assert table[name] == "required"
        elif field.default is None:
            assert table[name] == "unset"
        elif field.default == []:
            assert table[name] == "empty"
        else:
            assert table[name].lower() == str(field.default).lower(), name


def test_the_template_names_every_setting_and_holds_no_secret():
    lines = dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", TEMPLATE, re.MULTILINE))
    assert set(API) | set(ADMIN) <= set(lines)
    secrets = ("ADMIN_API_TOKEN", "DJANGO_SECRET_KEY", "WEBHOOK_SECRET_KEY")
    for name in ("API_DATABASE_URL", "REDIS_URL", "DATABASE_URL", *secrets):
        assert lines[name] == ""
