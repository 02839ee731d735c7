"""`make env`: the file `.env` that Docker Compose reads, made from `.env.example`, with random secrets.

It needs Python and nothing else: a machine that only runs the containers has no virtual environment.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

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
        line = f"{name}={value}"
        text, found = re.subn(rf"^#?(export )?{name}=.*$", line, text, count=1, flags=re.MULTILINE)
        if not found:
            text = f"{text.rstrip()}\n{line}\n"
        given.append(name)
    return text, given


def write(folder: Path) -> list[str]:
    """Make or complete `folder`'s `.env`, readable by its owner only; return the names that got a value.

    What has a value keeps it. Raises `OSError`.
    """
    path = folder / ".env"
    source = path if path.exists() else folder / ".env.example"
    text, given = complete(source.read_text(encoding="utf-8"))
    # mkstemp creates with mode 0600; a reader sees the old file or the new one, whole.
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".env.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
    return given


def main() -> None:
    """Make or complete the project's `.env`, and say what was done, but no secret."""
    try:
        given = write(_PROJECT)
    except OSError as exc:
        sys.exit(f"Error: .env was not written: {exc}")
    done = f".env: new values for {', '.join(given)}." if given else ".env is complete; no value was changed."
    sys.stdout.write(f"{done}\n{_NEXT}")


if __name__ == "__main__":
    main()
