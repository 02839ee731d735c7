"""Prometheus beside a running platform: the program from PATH, with the rules of this repository.

It has the jobs and rules of `prometheus.yml`, at addresses of this machine. Folder: `prometheus.yml`, `data`,
`lock`, `prometheus.log`.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from local.child import Child, basic_environment
from local.errors import LocalError
from local.ports import LOOPBACK
from local.server import Server

RULE_FILES = ("prometheus/rules.yml", "prometheus/alerts.yml")
SCRAPE_SECONDS = 15
_HTTP_SECONDS = 3.0


def require_program() -> str:
    """Return where Prometheus is. Raises `LocalError` when it is not on the PATH."""
    program = shutil.which("prometheus")
    if program is None:
        raise LocalError(
            "Prometheus is not on the PATH; install it: apt install prometheus, or brew install prometheus"
        )
    return program


class Prometheus(Server):
    """A Prometheus that owns `folder`, scrapes `targets` (URLs by job) and has the rules of `project`.

    A URL without a path is scraped at `/metrics`.
    """

    name = "prometheus"
    poll_seconds = 0.1

    def __init__(
        self,
        folder: Path,
        project: Path,
        targets: Mapping[str, str],
        *,
        scrape_seconds: int = SCRAPE_SECONDS,
        log: Path | None = None,
    ) -> None:
        """Take over `folder`; nothing is done before `start`. Rules are evaluated as often as it scrapes."""
        super().__init__(folder, log)
        self._project = project
        self._targets = targets
        self._scrape_seconds = scrape_seconds

    @property
    def url(self) -> str:
        """Where its pages and its API are."""
        return f"http://{LOOPBACK}:{self.port}"

    def configuration(self, port: int) -> dict[str, Any]:
        """Return what stands in its file, when it listens on `port`."""
        interval = f"{self._scrape_seconds}s"
        targets = {**self._targets, "prometheus": f"http://{LOOPBACK}:{port}"}
        return {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": f"{min(self._scrape_seconds, 10)}s",
                "evaluation_interval": interval,
            },
            "rule_files": [str(self._project / path) for path in RULE_FILES],
            "scrape_configs": [
                {"job_name": job}
                | ({"metrics_path": parts.path} if parts.path else {})
                | {"static_configs": [{"targets": [parts.netloc]}]}
                for job, parts in ((job, urlsplit(url)) for job, url in targets.items())
            ],
        }

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _make_child(self, port: int) -> Child:
        file = self.folder / "prometheus.yml"
        # Every JSON document is a YAML one.
        file.write_text(json.dumps(self.configuration(port), indent=2), encoding="utf-8")
        return Child(
            self.name,
            [
                require_program(),
                f"--config.file={file}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address={LOOPBACK}:{port}",
                "--log.level=warn",
            ],
            log=self.log,
            environment=basic_environment(),
            cwd=self.folder,
        )

    def _ready(self, child: Child) -> bool:
        try:
            # trust_env=False: a proxy of the caller's is not meant for 127.0.0.1.
            answer = httpx.get(
                f"{self.url}/api/v1/status/runtimeinfo", timeout=_HTTP_SECONDS, trust_env=False
            )
        except httpx.TransportError:
            return False
        if answer.status_code != httpx.codes.OK:  # it listens, but is not ready yet
            return False
        # Another Prometheus on this port would work in another folder.
        return child.alive and Path(answer.json()["data"]["CWD"]).samefile(self.folder)
