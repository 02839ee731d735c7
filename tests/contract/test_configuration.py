"""What the documents say of the environment is what the services read."""

import re

from ratelimiter.settings import Settings
from tests.servers import PROJECT

API = {name.upper(): field for name, field in Settings.model_fields.items()}
ADMIN = set(
    re.findall(
        r'env\.\w+\(\s*"([A-Z_]+)"',
        (PROJECT / "django-admin" / "config" / "settings.py").read_text(encoding="utf-8"),
    )
)
README = (PROJECT / "README.md").read_text(encoding="utf-8")
TEMPLATE = (PROJECT / ".env.example").read_text(encoding="utf-8")


def section(title):
    return README.split(f"**{title}**", 1)[1].split("\n**", 1)[0]


def documented(text):
    """The variables of a table's first column, with their defaults."""
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", text, re.MULTILINE)
    return {name: default.strip("`") for names, default in rows for name in re.findall(r"`(\w+)`", names)}


def test_the_readme_names_every_setting_of_the_api_with_its_default():
    table = documented(section("API"))
    assert set(table) == set(API)
    for name, default in table.items():
        field = API[name]
        if field.is_required():
            assert default == "required"
        elif field.default is None:
            assert default == "unset"
        else:
            assert default == str(field.default).lower(), name


def test_the_readme_names_every_setting_of_the_admin():
    assert set(documented(section("Admin"))) >= ADMIN


def test_the_template_names_every_setting_and_holds_no_secret():
    lines = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", TEMPLATE, re.MULTILINE))
    assert set(API) | ADMIN <= set(lines)
    for name in ("API_DATABASE_URL", "REDIS_URL", "ADMIN_API_TOKEN", "DATABASE_URL", "DJANGO_SECRET_KEY"):
        assert lines[name] == ""
