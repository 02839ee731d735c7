"""The platform in containers, as docker-compose.yml starts it, and what tests do with it."""

import json
import os
import random
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from local.dotenv import complete
from local.ports import LOOPBACK, free_port
from ratelimiter.keys import credentials
from tests.servers import PROJECT
from tests.waiting import wait_for

IMAGE_TAG = "stack-test"
# Grafana is left to those who can reach its image.
ENTRANCES = ("nginx", "prometheus", "notices", "rules")
UP_SECONDS = 120
DECISIONS = {200, 429}


class Containers:
    """The containers of one Compose project, and what tests do with the platform in them."""

    project: str
    url: str
    prometheus_url: str

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose with `variables`; returns what it printed."""
        raise NotImplementedError

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        [found] = json.loads(docker("inspect", self.container(service)))
        return dict(found)

    def is_healthy(self, service: str) -> bool:
        """Whether the container runs and its health check is content."""
        return bool(self.inspect(service)["State"].get("Health", {}).get("Status") == "healthy")

    def execute(self, service: str, *command: str, text: str = "") -> str:
        """Run a command in a service's container, with `text` as its input; returns what it printed."""
        return docker("exec", "--interactive", self.container(service), *command, text=text)

    def logs(self, *services: str) -> str:
        """What the services wrote."""
        return self.compose("logs", "--no-color", *services)

    # --- Platform -------------------------------------------------------------------------------------------

    def sql(self, query: str) -> list[list[str]]:
        """Run SQL as PostgreSQL's superuser; returns the rows as text."""
        psql = (
            "psql",
            "--username=postgres",
            "--dbname=ratelimiter",
            "--quiet",
            "--tuples-only",
            "--no-align",
        )
        answer = self.execute("postgres", *psql, "--set=ON_ERROR_STOP=1", text=query)
        return [line.split("|") for line in answer.splitlines()]

    def make_keys(self, count: int, *, burst: int, requests_per_hour: int = 1) -> list[str]:
        """Make keys with these limits, past the admin; returns the secrets."""
        keys = [credentials.generate() for _ in range(count)]
        rows = ",".join(
            f"('{credentials.hint(key)}','\\x{credentials.digest(key).hex()}'::bytea)" for key in keys
        )
        self.sql(
            "INSERT INTO api_key (name, hint, digest, tier_id, requests_per_hour, burst)"  # noqa: S608
            f" SELECT 'load', hint, digest, tier.id, {requests_per_hour}, {burst}"
            f" FROM (VALUES {rows}) AS new (hint, digest), tier WHERE tier.name = 'free'"
        )
        return keys

    def rows(self) -> Counter[int]:
        """How many decisions the request log holds, by status code."""
        by_status = "SELECT status_code, sum(count) FROM request_log GROUP BY 1"
        return Counter({int(status): int(total) for status, total in self.sql(by_status)})

    def spend(self, key: str, **headers: str) -> httpx.Response:
        """Spend a token through nginx."""
        return httpx.post(f"{self.url}/api/request", headers={"X-API-Key": key} | headers, trust_env=False)

    def load(self, keys: Iterable[str], clients: int = 8) -> Counter[int]:
        """Spend one token of each key in turn, through nginx; returns how many answers had each status.

        0 stands for no answer. A client that got no decision waits for a moment, so that an endless
        iterable does not flood a service that is away.
        """
        remaining, lock, answers = iter(keys), Lock(), Counter[int]()

        def client(_: int) -> None:
            with httpx.Client(base_url=self.url, trust_env=False, timeout=30) as http:
                while True:
                    with lock:
                        key = next(remaining, None)
                    if key is None:
                        return
                    try:
                        status = http.post("/api/request", headers={"X-API-Key": key}).status_code
                    except httpx.TransportError:
                        status = 0
                    with lock:
                        answers[status] += 1
                    if status not in DECISIONS:
                        time.sleep(0.05)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
        return answers

    def prometheus_query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus says to an instant query: a list of `{"metric": labels, "value": [time, text]}`."""
        return list(self.prometheus("query", query=expression)["result"])

    def prometheus(self, path: str, **parameters: str) -> dict[str, Any]:
        """The data of an answer of Prometheus's API."""
        answer = httpx.get(f"{self.prometheus_url}/api/v1/{path}", params=parameters, trust_env=False)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])


class Stack(Containers):
    """One Compose project with a name, ports, networks and volumes of its own."""

    def __init__(self, folder: Path) -> None:
        """Choose names, ports and secrets; nothing runs before `up`."""
        self.project = f"ratelimiter-test-{secrets.token_hex(4)}"
        self.tls = folder / "tls"
        self.acme = folder / "acme"
        for each in (self.tls, self.acme):
            each.mkdir()
        self.network = f"10.{random.randint(200, 249)}.{random.randint(0, 255)}"  # noqa: S311
        ports = {
            name: free_port()
            for name in (
                "HTTP_PORT",
                "HTTPS_PORT",
                "API_PORT",
                "ADMIN_PORT",
                "PROMETHEUS_PORT",
                "GRAFANA_PORT",
            )
        }
        self.url, self.api_url, self.admin_url, self.prometheus_url = (
            f"http://{LOOPBACK}:{ports[name]}"
            for name in ("HTTP_PORT", "API_PORT", "ADMIN_PORT", "PROMETHEUS_PORT")
        )
        self.https_url = f"https://localhost:{ports['HTTPS_PORT']}"
        text, names = complete("")
        values = dict(line.split("=", 1) for line in text.split())
        self.secrets = {name: values[name] for name in names if name.endswith(("PASSWORD", "KEY", "TOKEN"))}
        self.operator = {
            "username": values["DJANGO_SUPERUSER_USERNAME"],
            "password": values["DJANGO_SUPERUSER_PASSWORD"],
        }
        self.values = values | {
            **{name: str(port) for name, port in ports.items()},
            "HTTP_BIND_ADDRESS": LOOPBACK,
            "NETWORK_PREFIX": self.network,
            "IMAGE_TAG": IMAGE_TAG,
            "TLS_DIR": str(self.tls),
            "ACME_DIR": str(self.acme),
        }
        self._env_file = folder / "env"
        self._compose = _compose_command()

    # --- Containers -----------------------------------------------------------------------------------------

    def up(self, **variables: str) -> None:
        """Start everything but Grafana, and return when every health check is content."""
        self.compose("up", "--detach", "--no-build", *ENTRANCES, **variables)
        wait_for(lambda: all(map(self.is_healthy, ("fastapi", "django", "nginx"))), UP_SECONDS)

    def down(self, *arguments: str) -> None:
        """Remove the containers and networks."""
        self.compose("down", *arguments)

    def start(self, service: str) -> None:
        """Start a container that was stopped or killed, and return when its health check is content."""
        self.compose("start", service)
        wait_for(lambda: self.is_healthy(service), UP_SECONDS)

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose with the project's variables and `variables`; returns what it printed."""
        done = self.try_compose(self.values | variables, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_compose(self, values: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run docker compose with these variables only."""
        self._env_file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return subprocess.run(
            [*self._compose, "--env-file", self._env_file, "--project-name", self.project, *arguments],
            cwd=PROJECT,
            # Nothing of ours: a variable of the shell would win over the file's.
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            check=False,
        )


def docker(*arguments: str, text: str = "") -> str:
    """Run docker; returns what it printed."""
    done = subprocess.run(
        ["docker", *arguments],  # noqa: S607  # whichever the user has
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_images() -> None:
    """Build both images, on the host's network: the machine may reach packages only through it."""
    for name, arguments in (
        ("api", ("fastapi-service",)),
        ("admin", ("--file", "django-admin/Dockerfile", ".")),
    ):
        docker("build", "--quiet", "--network=host", f"--tag=rate-limiter-{name}:{IMAGE_TAG}", *arguments)


def _compose_command() -> list[str]:
    """Compose v2 is docker's plugin, v1 a program of its own."""
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    assert shutil.which("docker-compose"), "neither docker compose nor docker-compose is installed"
    return ["docker-compose"]
