"""schemathesis against the running platform: every operation, valid and invalid data, chains by links."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from ratelimiter.keys import credentials
from tests.servers import execute

KEY_ID: Final = 2**40
"""The number of the data plane's key: no call that makes up or follows a key's id comes upon it."""
_PROGRAM: Final = Path(sys.executable).with_name("schemathesis")
_CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
_WELL_KNOWN: Final = {"PATH", "HOME", "LANG"}


def issue(database_url: str) -> str:
    """Make the data plane's key; returns its secret."""
    secret = credentials.generate()
    execute(
        database_url,
        "INSERT INTO api_key (id, name, hint, digest, tier_id, requests_per_hour, burst)"
        " OVERRIDING SYSTEM VALUE"
        " SELECT %s, 'fuzz', %s, %s, id, 3600000, 1000 FROM tier WHERE name = 'free'",
        KEY_ID,
        credentials.hint(secret),
        credentials.digest(secret),
    )
    return secret


def fuzz(platform: dict[str, str], seed: int, *options: str) -> int:
    """Run schemathesis, which prints what it finds; its exit code, which is 0 if that is nothing."""
    secrets = {"API_KEY": issue(platform["DATABASE_URL"]), "ADMIN_API_TOKEN": platform["ADMIN_API_TOKEN"]}
    inherited = {name: value for name, value in os.environ.items() if name in _WELL_KNOWN}
    location = f"{platform['API_URL']}/openapi.json"
    command = (_PROGRAM, "--config-file", _CONFIG, "run", location, "--seed", str(seed), *options)
    return subprocess.run(command, cwd=platform["LOCAL_DIR"], env=inherited | secrets, check=False).returncode


def complaints(platform: dict[str, str]) -> list[str]:
    """What both services logged as an error or above; each line must be JSON."""
    folder = Path(platform["LOCAL_DIR"], "log")
    texts = [(folder / f"{name}.log").read_text(encoding="utf-8") for name in ("api", "admin")]
    lines = [line for text in texts for line in text.split("\n")[:-1]]  # what follows is being written
    return [line for line in lines if json.loads(line)["level"] in {"error", "critical"}]
