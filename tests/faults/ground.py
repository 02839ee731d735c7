"""What root can put under PostgreSQL: a small disk and a network of its own, as on another machine."""

import os
import shutil
import subprocess
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from local.account import unprivileged_account
from local.child import Child
from local.ports import LOOPBACK
from local.postgres import Postgres
from local.roles import Role

DISK_MEGABYTES: Final = 384
_FIRST_ADDRESS: Final = IPv4Address("198.18.0.0")
"""Of a block that is routed nowhere: RFC 2544 keeps it for measurements."""
_NOBODYS: Final = "02:00:00:00:00:01"


@cache
def is_within_reach() -> bool:
    """Whether we may mount, and make network namespaces: root may, but not in every container."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "setpriv", "unshare"))):
        return False
    command = ["unshare", "--mount", "--net", "true"]
    return subprocess.run(command, check=False).returncode == 0


class Disk:
    """A file system in memory, mounted on a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"

    def mount(self) -> None:
        """Make it, open to enter for whoever gets a folder on it."""
        self._folder.mkdir()
        options = f"size={DISK_MEGABYTES}m,mode=0755"
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._folder))

    def unmount(self) -> None:
        """End it, with all that is on it."""
        _run("umount", "--lazy", str(self._folder))

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("wb") as filler:
            free = os.statvfs(self._folder)
            size = free.f_bavail * free.f_frsize
            while size:
                try:
                    os.posix_fallocate(filler.fileno(), filler.seek(0, os.SEEK_END), size)
                except OSError:  # others write meanwhile
                    size //= 2

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink()


class Network:
    """A namespace with one link to ours; a cut link loses packets and tells nobody, as a real one does."""

    def __init__(self) -> None:
        self._name = f"rl{os.getpid()}"
        self._near_end, self._far_end = f"{self._name}a", f"{self._name}b"
        first = _FIRST_ADDRESS + 4 * (os.getpid() % 2**15)
        self._near, self.far = str(first + 1), str(first + 2)

    @property
    def path(self) -> str:
        """The namespace, for ``nsenter``."""
        return f"/run/netns/{self._name}"

    def make(self) -> None:
        """Make the namespace and the link."""
        inside = ("ip", "-n", self._name)
        _run("ip", "netns", "add", self._name)
        _run(
            *("ip", "link", "add", self._near_end, "type", "veth"),
            *("peer", "name", self._far_end, "netns", self._name),
        )
        _run("ip", "address", "add", f"{self._near}/30", "dev", self._near_end)
        _run(*inside, "address", "add", f"{self.far}/30", "dev", self._far_end)
        _run("ip", "link", "set", self._near_end, "up")
        _run(*inside, "link", "set", self._far_end, "up")
        _run(*inside, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Remove both; the link goes with its end in the namespace."""
        _run("ip", "link", "delete", self._near_end)
        _run("ip", "netns", "delete", self._name)

    def cut(self) -> None:
        """Send every packet to a card that nobody has: a link that is set down would answer with errors."""
        for command, address, device in self._neighbours():
            _run(*command, "replace", address, "lladdr", _NOBODYS, "dev", device, "nud", "permanent")

    def heal(self) -> None:
        """Let packets through again."""
        for command, address, device in self._neighbours():
            _run(*command, "delete", address, "dev", device)

    def _neighbours(self) -> list[tuple[tuple[str, ...], str, str]]:
        return [
            (("ip", "neighbour"), self.far, self._near_end),
            (("ip", "-n", self._name, "neighbour"), self._near, self._far_end),
        ]


class PostgresApart(Postgres):
    """A PostgreSQL that is reached through a network of its own."""

    def __init__(self, folder: Path, network: Network) -> None:
        super().__init__(folder)
        self._network = network

    def url(self, database: str, role: Role) -> str:
        """The URL by which ``role`` reaches ``database`` through the link."""
        return super().url(database, role).replace(f"@{LOOPBACK}:", f"@{self._network.far}:")

    def _prepare(self) -> None:
        super()._prepare()
        rules = self._data / "pg_hba.conf"
        ours = f"host all all {self._network.far}/30 scram-sha-256\n"
        if ours not in rules.read_text():
            with rules.open("a") as file:
                file.write(ours)

    def _make_child(self, port: int) -> Child:
        child = super()._make_child(port)
        account = unprivileged_account()
        assert account is not None
        # They replace themselves with what they start, so its process is the one that is started here. The
        # kernel forgets the wish to die with a parent at a change of user: it is made again.
        child.command = [
            *("nsenter", f"--net={self._network.path}"),
            *("setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"),
            *("--pdeathsig", "INT", "--"),
            *child.command,
            *("-c", f"listen_addresses={self._network.far}"),
        ]
        child.account = None
        return child


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
