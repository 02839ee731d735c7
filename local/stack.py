"""A running PostgreSQL of ours, and how PostgreSQL's own programs are run on it: pg_dump, pg_restore, psql.

Only the standard library, since a machine that runs the containers has nothing else. The programs are the
server's: those that lie beside the embedded one, or those in the container. So their version always fits.
They work as the superuser, whose password stands on no command line.
"""

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import IO

from local import environment, lock
from local.child import basic_environment
from local.errors import LocalError

PROJECT = Path(__file__).resolve().parent.parent
DATABASE = "ratelimiter"
API_ROLE = "ratelimiter_api"

_SUPERUSER = "postgres"
_PSQL = (
    "--no-psqlrc",
    "--quiet",
    "--no-align",
    "--tuples-only",
    "--field-separator=\t",
    "--set=ON_ERROR_STOP=1",
)
_PORT_LINE = 3  # of postmaster.pid, counted from 0
_LAST_LINES = 5
_END = "end-of-answer"


class Stack(ABC):
    """One PostgreSQL server; `database` is the platform's."""

    name: str
    database: str = DATABASE

    @abstractmethod
    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command that runs one of PostgreSQL's programs on this server, as its superuser."""

    @abstractmethod
    def migrate(self, database: str) -> None:
        """Bring the schema of one of the server's databases up to this version. Raises `LocalError`."""

    @abstractmethod
    def how_to_drop(self, database: str) -> str:
        """Return the command by which a person drops a database of the server."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of such a command."""
        return dict(os.environ)

    def start(
        self,
        program: str,
        *arguments: str,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs."""
        return subprocess.Popen(  # noqa: S603 -- our own arguments
            self.command(program, *arguments),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=PROJECT,
            env=self.environment,
        )

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of PostgreSQL's programs with `text` as its input, and return what it printed.

        Raises `LocalError` with the end of its complaint when it fails.
        """
        with self.start(program, *arguments, stdin=subprocess.PIPE) as process:
            out, complaint = process.communicate(text.encode())
        require_success(process, program, complaint)
        return out.decode()

    def sql(self, script: str, database: str = "postgres", **variables: object) -> list[list[str]]:
        """Run SQL, with psql's variables; returns the rows as texts. Raises `LocalError`."""
        settings = [f"--set={name}={value}" for name, value in variables.items()]
        answer = self.run("psql", *_PSQL, *settings, f"--dbname={database}", text=script)
        return [line.split("\t") for line in answer.splitlines()]

    def copy(self, query: str, database: str, *, table: str, to: str) -> None:
        """Copy what a query brings in `database` into a table of the database `to`. Raises `LocalError`."""
        copy_in, copy_out = f"COPY {table} FROM STDIN", f"COPY ({query}) TO STDOUT"
        with self.start("psql", *_PSQL, f"--dbname={database}", f"--command={copy_out}") as source:
            with self.start(
                "psql", *_PSQL, f"--dbname={to}", f"--command={copy_in}", stdin=source.stdout or 0
            ) as sink:
                if source.stdout is not None:
                    source.stdout.close()  # the sink has it; so the source learns when the sink ends
                _, complaint = sink.communicate()
            _, source_complaint = source.communicate()
        require_success(source, "psql", source_complaint)
        require_success(sink, "psql", complaint)

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Hold one view of the database, whatever is written meanwhile."""
        # It ends with its input, which the end of this block closes.
        with self.start("psql", *_PSQL, f"--dbname={self.database}", stdin=subprocess.PIPE) as session:
            yield Snapshot(session)


class Snapshot:
    """A view of the database that others can share by its `name`: `pg_dump --snapshot`."""

    def __init__(self, session: subprocess.Popen[bytes]) -> None:
        """Begin on a psql session."""
        self._session = session
        self.ask("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        [[self.name]] = self.ask("SELECT pg_export_snapshot()")

    def ask(self, query: str) -> list[list[str]]:
        """Return a query's rows as texts. Raises `LocalError`."""
        session = self._session
        if session.stdin is None or session.stdout is None:
            raise LocalError("psql was started without pipes")
        with suppress(BrokenPipeError):  # it has ended, and says why
            session.stdin.write(f"{query};\n\\echo {_END}\n".encode())
            session.stdin.flush()
        rows: list[list[str]] = []
        for line in session.stdout:
            text = line.decode().rstrip("\n")
            if text == _END:
                return rows
            rows.append(text.split("\t"))
        raise LocalError(f"psql failed: {last_lines(session.stderr.read() if session.stderr else b'')}")


class Embedded(Stack):
    """The PostgreSQL that `make run` started on `state`."""

    name = "embedded"

    def __init__(self, state: Path, database: str = DATABASE) -> None:
        """Find the server. Raises `LocalError` when none runs there."""
        self.database = database
        self._state = state
        folder = state / "postgres"
        moved = folder / "moved-to"  # see `local.account`
        self._folder = Path(moved.read_text().strip()) if moved.exists() else folder
        data = self._folder / "data"
        try:
            self._port = (data / "postmaster.pid").read_text().splitlines()[_PORT_LINE]
            # The server's own program, then its quoted arguments.
            server = (data / "postmaster.opts").read_text().split(' "', 1)[0]
            self._password = (self._folder / "superuser-password").read_text().strip()
        except (OSError, IndexError) as exc:
            raise LocalError(f"No embedded PostgreSQL runs on {state}; start it: make run") from exc
        if not self._is_running():
            raise LocalError(f"No embedded PostgreSQL runs on {state}; start it: make run")
        self._programs = Path(server).parent

    def _is_running(self) -> bool:
        try:
            os.close(lock.acquire(self._folder / "lock"))
        except lock.HeldError:
            return True
        return False

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command; how to reach the server is in the environment."""
        return [str(self._programs / program), f"--username={_SUPERUSER}", "--no-password", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """Where the server listens, and the password."""
        return basic_environment() | {
            "PGHOST": "127.0.0.1",
            "PGPORT": self._port,
            "PGPASSWORD": self._password,
            "PGCONNECT_TIMEOUT": "10",
            "TZ": "UTC",
            "LC_ALL": "C",
        }

    def migrate(self, database: str) -> None:
        """Run `manage.py migrate` of this checkout."""
        values = environment.load(self._state / "env")
        place, _, _ = values["DATABASE_URL"].rpartition("/")
        _require(
            [sys.executable, "manage.py", "migrate", "--no-input"],
            cwd=PROJECT / "django-admin",
            env=basic_environment()
            | {
                "DATABASE_URL": f"{place}/{database}",
                "DJANGO_SECRET_KEY": values["DJANGO_SECRET_KEY"],
                "API_DATABASE_ROLE": API_ROLE,
            },
        )

    def how_to_drop(self, database: str) -> str:
        """Return what the owner says."""
        values, psql = quote(str(self._state / "env")), quote(str(self._programs / "psql"))
        return f". {values}; {psql} \"$DATABASE_URL\" --command 'DROP DATABASE {database}'"


class Compose(Stack):
    """The container `postgres` of docker-compose.yml."""

    name = "compose"

    def __init__(self) -> None:
        """Find the container. Raises `LocalError` when it does not run."""
        self._compose = _compose_command()
        found = _require([*self._compose, "ps", "--quiet", "postgres"])
        self._container = found.strip()
        if not self._container or "true" not in _require(
            ["docker", "inspect", "--format={{.State.Running}}", self._container]
        ):
            raise LocalError(
                "The container postgres does not run; start it: docker compose up --detach postgres"
            )

    def command(self, program: str, *arguments: str) -> list[str]:
        """Return the command; over the container's socket the superuser needs no password."""
        return [
            *("docker", "exec", "--interactive", self._container),
            *(program, f"--username={_SUPERUSER}", "--no-password", *arguments),
        ]

    def migrate(self, database: str) -> None:
        """Run the job `migrate`, in whose environment only the name of the database is another."""
        script = (
            'DATABASE_URL=$(printf %s "$DATABASE_URL" | sed "s|/$1\\(?.*\\)\\{0,1\\}$|/$2\\1|") &&'
            " export DATABASE_URL && exec python manage.py migrate --no-input"
        )
        job = ["run", "--rm", "--no-deps", "-T", "migrate"]
        _require([*self._compose, *job, "sh", "-ec", script, "migrate", self.database, database])

    def how_to_drop(self, database: str) -> str:
        """Return what the superuser says."""
        return f"{' '.join(self._compose)} exec -T postgres dropdb --username postgres {database}"


def find(variables: Mapping[str, str]) -> Stack:
    """Return the stack that runs, or the one that the variable STACK names. Raises `LocalError`."""
    state = Path(variables.get("LOCAL_DIR") or PROJECT / ".local").absolute()
    wanted = variables.get("STACK", "")
    if wanted == "embedded":
        return Embedded(state)
    if wanted == "compose":
        return Compose()
    if wanted:
        raise LocalError(f"STACK: expected embedded or compose, not {wanted!r}")
    found: list[Stack] = []
    reasons = []
    for look in (lambda: Embedded(state), Compose):
        try:
            found.append(look())
        except LocalError as exc:
            reasons.append(str(exc))
    if not found:
        raise LocalError("\n  ".join(["No PostgreSQL of ours runs here:", *reasons]))
    if len(found) > 1:
        raise LocalError("Both stacks run here; say which one: STACK=embedded or STACK=compose")
    return found[0]


def require_success(process: subprocess.Popen[bytes], program: str, complaint: bytes) -> None:
    """Raise `LocalError` with the end of the complaint if the program has failed."""
    if process.returncode != 0:
        raise LocalError(f"{program} failed: {last_lines(complaint) or f'exit code {process.returncode}'}")


def last_lines(complaint: bytes) -> str:
    """Return the end of what a program said."""
    return "\n    ".join(complaint.decode(errors="replace").strip().splitlines()[-_LAST_LINES:])


def _compose_command() -> list[str]:
    """Compose v2 is docker's plugin, v1 a program of its own."""
    if shutil.which("docker") is None:
        raise LocalError("Docker is not installed, so there is no stack in containers")
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:  # noqa: S603
        return plugin
    if shutil.which("docker-compose") is None:
        raise LocalError("Docker has no Compose, so there is no stack in containers")
    return ["docker-compose"]


def _require(command: Sequence[str], cwd: Path = PROJECT, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, check=False, cwd=cwd, env=env)  # noqa: S603
    if done.returncode != 0:
        raise LocalError(f"{' '.join(command[:4])} … failed: {last_lines(done.stderr)}")
    return done.stdout.decode()
