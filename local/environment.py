"""The file `.local/env`: addresses and secrets of this clone, for people, shells and tools.

`KEY=value` lines, quoted for a POSIX shell (`. .local/env`), readable by their owner only. The secrets are
made once per clone and stay; addresses, and the passwords in them, are new at each start, as the ports are.
"""

import contextlib
import os
import secrets
import shlex
import string
import tempfile
import zlib
from pathlib import Path

from local.errors import LocalError

KEYS = (
    "DATABASE_URL",
    "API_DATABASE_URL",
    "REDIS_URL",
    "ADMIN_API_TOKEN",
    "API_TOKEN",
    "DJANGO_SECRET_KEY",
    "WEBHOOK_SECRET_KEY",
    "DJANGO_SUPERUSER_USERNAME",
    "DJANGO_SUPERUSER_PASSWORD",
    "DJANGO_SUPERUSER_EMAIL",
    "API_URL",
    "ADMIN_URL",
    "DEMO_API_KEY",
)
_SECRET_BYTES = 32
_PASSWORD_BYTES = 12  # typed by people; still 96 bits
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TOKEN_LENGTH = 43  # 256 bits
_CHECKSUM_LENGTH = 6


def new_secret() -> str:
    """Return 256 random bits in characters that need no quoting in a URL, a header or a shell."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def new_management_token() -> str:
    """Return a token of the management API, of the form that `ratelimiter.keys.credentials` describes."""
    body = f"rlm_live_{''.join(secrets.choice(_BASE62) for _ in range(_TOKEN_LENGTH))}"
    checksum, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        checksum, digit = divmod(checksum, len(_BASE62))
        digits = _BASE62[digit] + digits
    return body + digits


def load(path: Path) -> dict[str, str]:
    """Return what stands in the file; nothing when there is none. Raises `LocalError` when it is damaged."""
    try:
        words = shlex.split(path.read_bytes().decode(), comments=True)
    except FileNotFoundError:
        return {}
    except ValueError as exc:
        raise LocalError(f"{path} is damaged ({exc}); mend it, or delete it to get new secrets.") from exc
    pairs = (word.partition("=") for word in words)
    return {name: value for name, equals, value in pairs if equals}


def save(path: Path, values: dict[str, str]) -> None:
    """Replace the file in one step: a reader sees the old one or the new one, whole."""
    lines = [f"{key}={shlex.quote(values[key])}\n" for key in KEYS if key in values]
    # mkstemp creates with mode 0600.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def with_secrets(values: dict[str, str]) -> dict[str, str]:
    """Return `values`, completed by a random secret for each one that is missing, and by the operator."""
    fresh = {
        "ADMIN_API_TOKEN": new_secret(),
        "API_TOKEN": new_management_token(),
        "DJANGO_SECRET_KEY": new_secret(),
        "WEBHOOK_SECRET_KEY": new_secret(),
        "DJANGO_SUPERUSER_USERNAME": "operator",
        "DJANGO_SUPERUSER_PASSWORD": secrets.token_urlsafe(_PASSWORD_BYTES),
        "DJANGO_SUPERUSER_EMAIL": "operator@example.com",
    }
    return fresh | {key: value for key, value in values.items() if value}
