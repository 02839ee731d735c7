"""The two services and the sender of notices as child processes, and Django's one-shot commands.

A child is given the environment it needs by name, and nothing else of ours: neither service sees the other
one's secrets.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local.child import Child, basic_environment, die_with_parent
from local.errors import LocalError
from local.ports import LOOPBACK

_OPERATOR = ("DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD", "DJANGO_SUPERUSER_EMAIL")
# Threads, because a browser's idle spare connections would each hold up a worker without them; and no control
# socket, which would stand in the user's home.
_GUNICORN = ("--workers", "2", "--threads", "4", "--graceful-timeout", "3", "--no-control-socket")
_API_OPTIONS = (
    "CLIENT_IP_TRUNCATE",
    "DECISION_TIMEOUT_SECONDS",
    "FORWARDED_ALLOW_IPS",
    "KEY_ENVIRONMENT",
    "LOG_LEVEL",
    "METRICS_REQUIRE_TOKEN",
    "REDIS_SHARDS",
    "REQUEST_LOG_DRAIN",
    "REQUEST_LOG_REQUIRE_ARCHIVE",
    "REQUEST_LOG_RETENTION_DAYS",
    "WEB_CONCURRENCY",
)
_ADMIN_OPTIONS = (
    "CURRENCY",
    "FORWARDED_ALLOW_IPS",
    "KEY_ENVIRONMENT",
    "LOG_LEVEL",
    "SSL_CERT_FILE",
    "WEBHOOK_ALLOW_PRIVATE",
)
_TAIL_LINES = 10


@dataclass(frozen=True)
class Services:
    """What the services need to know: the project folder, the log folder, the values of `.local/env`."""

    project: Path
    logs: Path
    values: Mapping[str, str]

    def api(self, port: int) -> Child:
        """Return the API service, to listen on `port`; optional settings are handed on if they are set."""
        environment = self._environment("API_DATABASE_URL", "REDIS_URL", "ADMIN_API_TOKEN")
        environment |= _set(_API_OPTIONS)
        environment |= {"API_HOST": LOOPBACK, "API_PORT": str(port)}
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.logs.parent / "metrics")
        return Child(
            "api",
            [sys.executable, "-m", "ratelimiter.server"],
            log=self.logs / "api.log",
            environment=environment,
            cwd=self.project / "fastapi-service",
            grace_seconds=6.0,  # it gives the requests in flight 3 s of its own, and its drain 2
        )

    def admin(self, port: int) -> Child:
        """Return the admin service, to listen on `port`."""
        bind = ["--bind", f"{LOOPBACK}:{port}"]
        environment = self._django_environment() | self._given("API_URL")
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(self.logs.parent / "admin-metrics")
        return Child(
            "admin",
            [sys.executable, "-m", "gunicorn", *bind, *_GUNICORN, "config.wsgi:application"],
            log=self.logs / "admin.log",
            environment=environment,
            cwd=self.project / "django-admin",
        )

    def notices(self) -> Child:
        """Return what tells webhooks."""
        return Child(
            "notices",
            [sys.executable, "manage.py", "send_notices", "--forever"],
            log=self.logs / "notices.log",
            environment=self._django_environment(),
            cwd=self.project / "django-admin",
        )

    def manage(self, command: str, *arguments: str) -> str:
        """Run a `manage.py` command and return its stdout; what it says on stderr goes to its log.

        Raises `LocalError` with the end of that log when it fails. No log has the stdout: it may be a secret.
        """
        path = self.logs / f"{command}.log"
        with path.open("wb") as log:
            result = subprocess.run(  # noqa: S603 -- our own arguments
                [sys.executable, "manage.py", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
                cwd=self.project / "django-admin",
                env=self._django_environment() | self._given(*_OPERATOR),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        if result.returncode != 0:
            tail = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            raise LocalError("\n    ".join([f"manage.py {command} failed; the log {path} ends with:", *tail]))
        return result.stdout

    def _django_environment(self) -> dict[str, str]:
        environment = self._environment(
            "DATABASE_URL", "DJANGO_SECRET_KEY", "WEBHOOK_SECRET_KEY", "API_TOKEN"
        ) | _set(_ADMIN_OPTIONS)
        environment["DJANGO_ALLOWED_HOSTS"] = f"localhost,{LOOPBACK}"
        environment["API_DATABASE_ROLE"] = urlsplit(self.values["API_DATABASE_URL"]).username or ""
        return environment

    def _environment(self, *names: str) -> dict[str, str]:
        # Unbuffered, so that a log is whole when its writer dies.
        return basic_environment() | {"PYTHONUNBUFFERED": "1"} | self._given(*names)

    def _given(self, *names: str) -> dict[str, str]:
        return {name: self.values[name] for name in names}


def _set(names: Iterable[str]) -> dict[str, str]:
    """Return those of the variables that are set in our own environment."""
    return {name: os.environ[name] for name in names if name in os.environ}
