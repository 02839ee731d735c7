"""A load that goes on while something is done to the platform, and what came of it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.servers import ADMIN_API_TOKEN
from tests.waiting import wait_for

SPENDERS = 3
_PAUSE_SECONDS = 0.01
_MANAGEMENT = {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}


class Load:
    """Clients that spend one key, which the API holds in memory, and a client whose keys are always new.

    ``decisions`` and ``management`` count the answers by status code, or by the name of what prevented one.
    """

    def __init__(self, url: str, key: str) -> None:
        self.decisions: Counter[int | str] = Counter()
        self.management: Counter[int | str] = Counter()
        self.slowest_seconds = 0.0
        self._url = url
        self._key = key
        self._asking: dict[str, str] = {}
        self._done = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask meanwhile, and have an answer to every request in the end."""
        clients = [threading.Thread(target=self._run, args=(self._spend,)) for _ in range(SPENDERS)]
        clients.append(threading.Thread(target=self._run, args=(self._come_and_go,)))
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._done.set()
            for client in clients:
                client.join()

    def move_to(self, url: str) -> None:
        """Send everyone to another server, as a load balancer does; returns when none asks the one before."""
        self._url = url
        wait_for(lambda: set(self._asking.values()) == {url}, seconds=30)

    def go_on(self, requests: int = 50) -> None:
        """Return when so many more decisions were answered."""
        before = self.decisions.total()
        wait_for(lambda: self.decisions.total() >= before + requests, seconds=30)

    def _run(self, ask: Any) -> None:
        name = threading.current_thread().name
        while not self._done.is_set():
            url = self._asking[name] = self._url
            with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
                while self._url == url and not self._done.is_set():
                    ask(http)
                    time.sleep(_PAUSE_SECONDS)

    def _spend(self, http: httpx.Client) -> None:
        self._decide(http, self._key)

    def _come_and_go(self, http: httpx.Client) -> None:
        issued = self._count(self.management, http, "POST", "/api/keys", _MANAGEMENT, {"name": "newcomer"})
        if issued is None or issued.status_code != httpx.codes.CREATED:
            return
        self._decide(http, issued.json()["key"])
        self._count(self.management, http, "DELETE", f"/api/keys/{issued.json()['id']}", _MANAGEMENT)

    def _decide(self, http: httpx.Client, key: str) -> None:
        self._count(self.decisions, http, "POST", "/api/request", {"X-API-Key": key})

    def _count(
        self,
        answers: Counter[int | str],
        http: httpx.Client,
        method: str,
        path: str,
        headers: dict[str, str],
        body: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = http.request(method, path, headers=headers, json=body)
        except httpx.TransportError as exc:
            answer, seen = None, repr(exc)
        else:
            seen = answer.status_code
        with self._lock:
            answers[seen] += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        return answer
