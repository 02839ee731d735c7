"""Where the parts of user_data lie, and how to take it apart."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "terraform/cloud-init/user-data.yaml.tftpl"
SETUP = ROOT / "terraform/cloud-init/setup.sh"
HOST_ENV = {
    "ROLE": "api",
    "API_DOMAIN": "api.example.com",
    "REPOSITORY_URL": "https://github.com/alice/rate-limiter",
}


def written(user_data, path):
    """The content of the one file that is written to `path`."""
    (file,) = (file for file in user_data["write_files"] if file["path"] == path)
    return file["content"]


def variables(env_file):
    """NAME=value lines as a dict."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", env_file, re.MULTILINE))
