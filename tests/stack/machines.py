"""Two machines as deploy/ makes them, on one Docker engine, with folders and addresses of their own."""

import os
import random
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from local.ports import LOOPBACK, free_port
from tests.servers import PROJECT
from tests.stack.stack import IMAGE_TAG, Containers, docker

GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
# Without Grafana, which is left to those who can reach its image.
SERVICES = {"api": "redis fastapi nginx prometheus", "admin": "postgres django notices rules nginx"}


class Machine(Containers):
    """One machine: it does what its scripts do, with folders in place of /etc, /var and /opt."""

    def __init__(self, role: str, folder: Path, place: "Place") -> None:
        """Clone the repository and write host.env, as cloud-init does."""
        self.role = role
        self.checkout = folder / role / "rate-limiter"
        self.settings = folder / role / "etc"
        self.state = folder / role / "var"
        self.storage = folder / "storage"
        self.address = place.addresses[role]
        self.project = f"{place.name}-{role}"
        ports = {name: free_port() for name in ("HTTP_PORT", "HTTPS_PORT", "PROMETHEUS_PORT")}
        # As through `ssh -L`, which is how the admin is reached that has no domain.
        self.url = f"http://{LOOPBACK}:{ports['HTTP_PORT']}"
        self.prometheus_url = f"http://{LOOPBACK}:{ports['PROMETHEUS_PORT']}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "SETTINGS_DIR": str(self.settings),
            "STATE_DIR": str(self.state),
        }
        run([*GIT, "clone", "--quiet", place.origin, self.checkout])
        for each in (self.settings, self.state):
            each.mkdir()
        host = {
            "ROLE": role,
            "API_DOMAIN": "",
            "ADMIN_DOMAIN": "",
            "API_PRIVATE_IP": place.addresses["api"],
            "ADMIN_PRIVATE_IP": place.addresses["admin"],
            "IMAGE_PREFIX": f"{place.name}/",
            "IMAGE_TAG": place.version("HEAD"),
            "HANDOVER_BUCKET": "handover",
            "BACKUP_BUCKET": "backups",
            "STORAGE": str(self.storage),
            "SERVICES": SERVICES[role],
        }
        (self.settings / "host.env").write_text("".join(f"{name}={value}\n" for name, value in host.items()))
        self.set_env(
            COMPOSE_PROJECT_NAME=self.project,
            NETWORK_PREFIX=place.networks[role],
            HTTP_BIND_ADDRESS=LOOPBACK,
            POSTGRES_VOLUME=str(self.state / "postgres"),
            **{name: str(port) for name, port in ports.items()},
        )

    def set_env(self, **values: str) -> None:
        """Put values into .env."""
        lines = "".join(f"{name}={value}\n" for name, value in values.items())
        run(["python3", "-m", "local.dotenv", "set"], text=lines, cwd=self.checkout, env=self.environment)

    def env(self) -> dict[str, str]:
        """What stands in .env."""
        lines = (self.checkout / ".env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def try_script(self, name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/; its output and errors together."""
        return subprocess.run(
            [self.checkout / "deploy" / f"{name}.sh", *arguments],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def script(self, name: str, *arguments: str, **variables: str) -> str:
        """Run a script of deploy/ that must succeed; returns what it said."""
        done = self.try_script(name, *arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run docker compose as its scripts do."""
        lib = '. deploy/lib.sh; compose "$@"'
        command = ["bash", "-euc", lib, "bash", *arguments]
        return run(command, cwd=self.checkout, env=self.environment | variables)

    def boot(self) -> None:
        """Do what bootstrap.sh does, but for the volume, the units and the packages of a real machine."""
        self.script("environment")
        if self.role == "admin":
            (self.state / "postgres").mkdir()
            (self.state / "postgres" / ".rate-limiter").touch()
            self.script("postgres-certificate")
        else:
            self.script("handover", "fetch", WAIT_SECONDS="0")
        self.script("images")
        self.script("start")
        self.script("smoke")
        if self.role == "admin":
            self.script("handover", "publish")


class Place:
    """What both machines share: addresses on this host, the repository with its versions, the images."""

    def __init__(self, folder: Path) -> None:
        """Choose names and addresses, and make a repository of the working tree."""
        self.name = f"machines-{secrets.token_hex(4)}"
        half = random.randint(0, 127)  # noqa: S311
        self.networks = {"api": f"10.{half}.250", "admin": f"10.{half}.251"}
        self.addresses: dict[str, str] = {}
        self.origin = folder / "origin"
        self._network_names = {role: f"{self.name}-{role}-address" for role in self.networks}
        self._copy_working_tree()

    def __enter__(self) -> Self:
        """Give each machine an address: the gateway of a network that has nothing else."""
        for role, name in self._network_names.items():
            docker("network", "create", name)
            gateway = "{{(index .IPAM.Config 0).Gateway}}"
            self.addresses[role] = docker("network", "inspect", "--format", gateway, name).strip()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the addresses and the images away."""
        for name in self._network_names.values():
            docker("network", "rm", name)
        pattern = f"reference={self.name}/*"
        images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", pattern).split()
        docker("image", "rm", "--force", *images)

    def version(self, name: str) -> str:
        """The commit of a name."""
        return run([*GIT, "rev-parse", name], cwd=self.origin).strip()

    def new_version(self, path: str, line: str = "", *, broken: str = "") -> str:
        """Commit one more line in a file, and make that commit's images; that of the role `broken` ends."""
        with (self.origin / path).open("a") as file:
            file.write(f"{line}\n")
        run([*GIT, "commit", "--quiet", "--all", "--message", path], cwd=self.origin)
        commit = self.version("HEAD")
        self.make_images(commit, broken)
        return commit

    def make_images(self, commit: str, broken: str = "") -> None:
        """Tag the images of the working tree as those of the commit."""
        for role in self.networks:
            image = f"{self.name}/rate-limiter-{role}:{commit}"
            docker("tag", f"rate-limiter-{role}:{IMAGE_TAG}", image)
            if role == broken:
                docker("build", "--quiet", "--tag", image, "-", text=f'FROM {image}\nCMD ["false"]\n')

    def _copy_working_tree(self) -> None:
        listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=PROJECT)
        for path in filter(None, listed.split("\0")):
            if (PROJECT / path).is_file():
                target = self.origin / path
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / path, target)
        run([*GIT, "init", "--quiet"], cwd=self.origin)
        run([*GIT, "add", "--all"], cwd=self.origin)
        run([*GIT, "commit", "--quiet", "--message", "the working tree"], cwd=self.origin)


def run(
    command: Sequence[str | Path],
    *,
    text: str = "",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> str:
    """Run a command that must succeed; returns what it printed."""
    done = subprocess.run(command, input=text, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
