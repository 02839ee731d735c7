"""Listens to PostgreSQL for edits of keys and tiers."""

import re
import select
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

import psycopg2
import structlog

from ratelimiter import metrics
from ratelimiter.database import connect

CHANNEL: Final = "key_news"
HEARTBEAT_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0
_KEY_ID: Final = re.compile("[0-9]{1,19}")

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class KeyNews:
    """A thread with a connection of its own that turns NOTIFY into calls.

    ``last_heard`` is when PostgreSQL last gave a sign of life on it (``time.monotonic``, seconds).
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.last_heard = monotonic()

    def start(self, *, on_keys: Callable[[list[int]], object], on_all: Callable[[], object]) -> None:
        """Begin; ``on_keys`` is called with the ids of edited keys.

        ``on_all`` is called when any key may have changed: after an edit of a tier, and whenever
        the connection has been made, since news may have been missed before.
        """
        self.last_heard = monotonic()  # to connect takes a moment, and is no silence yet
        self._thread = threading.Thread(
            target=self._run, args=(on_keys, on_all), name="key-news", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End; returns within a heartbeat, unless the connection hangs (the thread is a daemon)."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * HEARTBEAT_SECONDS)

    def _run(self, on_keys: Callable[[list[int]], object], on_all: Callable[[], object]) -> None:
        while not self._stopping.is_set():
            try:
                self._listen(on_keys, on_all)
            except Exception as exc:  # noqa: BLE001  # whatever it was, without news keys grow stale
                metrics.KEY_NEWS.labels("disconnected").inc()
                log.warning("key_news_interrupted", error=str(exc).strip())
                self._stopping.wait(RETRY_SECONDS)

    def _listen(self, on_keys: Callable[[list[int]], object], on_all: Callable[[], object]) -> None:
        connection = connect(self._database_url, "ratelimiter-key-news")
        try:
            connection.autocommit = True
            with connection.cursor() as db:
                db.execute(f"LISTEN {CHANNEL}")
                self.last_heard = monotonic()
                on_all()
                poll = select.poll()  # unlike select(), it takes descriptors over 1024
                poll.register(connection, select.POLLIN)
                while not self._stopping.is_set():
                    poll.poll(HEARTBEAT_SECONDS * 1000)
                    # One query answers both questions: is it alive, and what is there to hear?
                    db.execute("SELECT 1")
                    self.last_heard = monotonic()
                    self._deliver(connection.notifies, on_keys, on_all)
        finally:
            connection.close()

    def _deliver(
        self,
        notifies: "list[psycopg2.extensions.Notify]",
        on_keys: Callable[[list[int]], object],
        on_all: Callable[[], object],
    ) -> None:
        payloads = [notify.payload for notify in notifies]
        notifies.clear()
        ids = [int(payload) for payload in payloads if _KEY_ID.fullmatch(payload)]
        if ids:
            metrics.KEY_NEWS.labels("key").inc(len(ids))
            on_keys(ids)
        if len(ids) < len(payloads):
            # 'all', or what this version does not know: reading everything is never wrong.
            metrics.KEY_NEWS.labels("all").inc()
            on_all()
