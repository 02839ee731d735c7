"""`make env`: the file `.env` that Docker Compose reads, made from `.env.example`, with random secrets.

`python3 -m local.dotenv set` first puts the lines NAME=value of its input there.

It needs Python and nothing else: a machine that only runs the containers has no virtual environment.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from local.environment import new_secret, with_secrets

_PROJECT = Path(__file__).resolve().parent.parent
_PASSWORDS = (
    "POSTGRES_PASSWORD",
    "OWNER_DATABASE_PASSWORD",
    "API_DATABASE_PASSWORD",
    "REDIS_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
)
_NEXT = """
Next:

  docker compose up --detach

  Admin    http://localhost/admin/   DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD
  Grafana  http://localhost:3000     admin and GRAFANA_ADMIN_PASSWORD

Both passwords stand in .env, which is yours alone. DEPLOYMENT.md, "With Docker Compose", has the rest.
"""


def fresh_values() -> dict[str, str]:
    """Return a new value for each variable that `.env` must have: random secrets, the operator's name."""
    return with_secrets({}) | {name: new_secret() for name in _PASSWORDS}


def complete(text: str) -> tuple[str, list[str]]:
    """Return `text` with a value for each variable that must have one and has none, and their names."""
    given = []
    for name, value in fresh_values().items():
        if re.search(rf"^(export )?{name}=[ \t]*[^\s'\"#]", text, re.MULTILINE):
            continue
        text = assign(text, name, value)
        given.append(name)
    return text, given


def assign(text: str, name: str, value: str) -> str:
    """Return `text` with this value for the variable, in place of its line, be it commented out."""
    line = f"{name}={value}"
    for present in (rf"^(export )?{name}=.*$", rf"^#(export )?{name}=.*$"):
        text, found = re.subn(present, lambda _: line, text, count=1, flags=re.MULTILINE)
        if found:
            return text
    return f"{text.rstrip()}\n{line}\n"


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Return what the lines NAME=value set. Raises `ValueError`, which does not quote a value."""
    values = {}
    for number, line in enumerate(lines, start=1):
        found = re.fullmatch(r"([A-Z][A-Z0-9_]*)=([^\s'\"\\$#]*)\n?", line)
        if not found:
            raise ValueError(f"line {number}: expected NAME=value, without spaces, quotes, \\, $ and #")
        values[found[1]] = found[2]
    return values


def write(folder: Path, values: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Make or complete `folder`'s `.env`, readable by its owner only; return the names of new random values.

    `values` are put there first; any other that stands there stays. Raises `OSError`.
    """
    path = folder / ".env"
    source = path if path.exists() else folder / ".env.example"
    text = source.read_text(encoding="utf-8")
    for name, value in values.items():
        text = assign(text, name, value)
    text, given = complete(text)
    # mkstemp creates with mode 0600; a reader sees the old file or the new one, whole.
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".env.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
    return given


def main() -> None:
    """Make or complete the project's `.env`, and say what was done, but no secret."""
    if sys.argv[1:] not in ([], ["set"]):
        sys.exit("usage: python3 -m local.dotenv [set]")
    setting = sys.argv[1:] == ["set"]
    try:
        values = parse(sys.stdin) if setting else {}
        given = [*values, *write(_PROJECT, values)]
    except (OSError, ValueError) as exc:
        sys.exit(f"Error: .env was not written: {exc}")
    done = f".env: new values for {', '.join(given)}." if given else ".env is complete; no value was changed."
    sys.stdout.write(f"{done}\n{'' if setting else _NEXT}")


if __name__ == "__main__":
    main()
