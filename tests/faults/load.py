"""A steady load: so many requests a second, each at its time, however long the others take."""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import httpx

TIMEOUT_SECONDS: Final = 10.0
DECIDED: Final = frozenset({200, 403, 429})
SPEND_PATH: Final = "/api/request"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, with which key; ``endpoint`` and ``cost`` are sent where they are to be spent."""

    key: str = field(repr=False)
    endpoint: str = SPEND_PATH
    cost: int = 1
    method: str = "POST"
    path: str = SPEND_PATH

    @property
    def is_spending(self) -> bool:
        """Whether it asks for tokens, rather than looks."""
        return self.path == SPEND_PATH

    @property
    def body(self) -> dict[str, str | int] | None:
        """What is sent; nothing where that means the same."""
        if not self.is_spending or (self.endpoint == SPEND_PATH and self.cost == 1):
            return None
        return {"endpoint": self.endpoint, "cost": self.cost}


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's answer: when it was due (``time.monotonic``), and how long it then took.

    ``status`` is ``None`` where the connection failed, and ``mode`` is that of the fallback, if it decided.
    ``unheard`` is how often it was asked without an answer, though it may have been decided.
    """

    due: float
    seconds: float
    status: int | None
    mode: str | None
    request: Request
    unheard: int = 0

    @property
    def key(self) -> str:
        """The key it was asked with."""
        return self.request.key


class Load:
    """Clients in a thread, with connections kept alive; who finds an idle one closed asks once more."""

    def __init__(self, url: str, keys: Sequence[str], per_second: float) -> None:
        self.answers: list[Answer] = []
        self.planned = 0
        self.repeated = 0
        """Requests that were asked once more; the first may have been decided."""
        self._url = url
        self._keys = keys
        self._interval = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        logging.getLogger("httpx").setLevel(
            logging.WARNING
        )  # a line for each request would cost as much as it
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, when: float) -> list[Answer]:
        """The answers to what was due since then."""
        return [answer for answer in list(self.answers) if answer.due >= when]

    def requests(self) -> Iterator[Request]:
        """What is asked, without end: a token of each key in turn."""
        return itertools.cycle([Request(key) for key in self._keys])

    async def next_due(self, due: float) -> float:
        """Wait for the next one's time; it has its own, however long the others take."""
        due += self._interval
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        return due

    async def _run(self) -> None:
        requests = self.requests()
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
        # One retry, of a connection only: httpx repeats no request that may have arrived.
        transport = httpx.AsyncHTTPTransport(retries=1, limits=limits)
        async with (
            httpx.AsyncClient(transport=transport, timeout=TIMEOUT_SECONDS) as http,
            asyncio.TaskGroup() as asking,
        ):
            due = time.monotonic()
            while not self._stop.is_set():
                asking.create_task(self._ask(http, due, next(requests)))
                self.planned += 1
                due = await self.next_due(due)

    async def _ask(self, http: httpx.AsyncClient, due: float, request: Request) -> None:
        status, mode, unheard = None, None, 0
        headers, body = {"X-API-Key": request.key}, request.body
        for is_last in (False, True):
            try:
                answer = await http.request(
                    request.method, f"{self._url}{request.path}", headers=headers, json=body
                )
            except httpx.RemoteProtocolError:  # an idle connection that was closed meanwhile
                self.repeated += not is_last  # every client asks once more
                unheard += 1
                continue
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):  # it never arrived
                break
            except httpx.TransportError:
                unheard += 1
                break
            status, mode = answer.status_code, answer.headers.get("x-ratelimit-mode")
            break
        self.answers.append(Answer(due, time.monotonic() - due, status, mode, request, unheard))
