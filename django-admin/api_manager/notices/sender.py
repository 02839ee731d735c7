"""The sender: finds what is due, posts it, writes down how that went. One of all senders works at a time."""

import asyncio
import threading
from time import monotonic
from typing import Final

import structlog
from django.db import DatabaseError, connection
from django.utils import timezone

from api_manager.models import Delivery

from . import finding, outbox, posting

POLL_SECONDS: Final = 1.0
FIND_SECONDS: Final = 60.0
"""From one look for what time brings to the next; longer where a look itself takes long."""
_FIND_SHARE: Final = 20
"""A look takes one part in so many of the time at most."""
REST_SHARE: Final = 3
"""A webhook that does not answer is left alone for so many times as long as that took: a batch ends with its
slowest attempt, and others are sent theirs meanwhile."""
_LOCK: Final = "hashtext('ratelimiter notices')"

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Sender:
    """Sends as long as it leads: while its connection holds the advisory lock."""

    def __init__(self) -> None:
        self._leads = False
        self._next_find = 0.0
        self._rests_until: dict[int, float] = {}

    def send_forever(self, stop: threading.Event) -> None:
        """Sends what is due whenever something is, until asked to stop; what is under way is finished.

        While PostgreSQL is away nothing is sent; another connection, and so another lock, is tried each
        second.
        """
        while not stop.is_set():
            try:
                while self.lead() and self.step() and not stop.is_set():
                    pass
            except DatabaseError as exc:
                log.warning("notices_not_sent", error=str(exc).strip())
                self._leads = False
                connection.close()
            stop.wait(POLL_SECONDS)

    def lead(self) -> bool:
        """Whether this sender is the one that works."""
        if not self._leads:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT pg_try_advisory_lock({_LOCK})")
                [self._leads] = cursor.fetchone()
            if self._leads:
                log.info("notices_sender_leads")
        return self._leads

    def step(self) -> bool:
        """Finds if it is time to, and attempts what is due; whether there was anything to attempt.

        Should the process end before what was sent is written, it is sent again, under the same id.
        """
        began = monotonic()
        if began >= self._next_find:
            written = finding.find(timezone.now())
            outbox.prune(timezone.now())
            took = monotonic() - began
            self._next_find = began + max(FIND_SECONDS, _FIND_SHARE * took)
            if written:
                log.info("notices_found", notices=written, seconds=round(took, 3))
        now = timezone.now()
        self._rests_until = {hook: until for hook, until in self._rests_until.items() if until > began}
        due = outbox.due(now, self._rests_until)
        if not due:
            return False
        outcomes = asyncio.run(posting.post_all([outbox.message(delivery, now) for delivery in due]))
        outbox.record(dict(zip(due, outcomes, strict=True)), timezone.now())
        for delivery, outcome in zip(due, outcomes, strict=True):
            _tell(delivery, outcome)
            if outcome.status_code is None:
                until = monotonic() + REST_SHARE * outcome.duration_ms / 1000
                hook = delivery.webhook_id
                self._rests_until[hook] = max(until, self._rests_until.get(hook, until))
        return True


def _tell(delivery: Delivery, outcome: posting.Outcome) -> None:
    # Not the address: what a receiver put into its path may be a secret.
    line = {"delivery": delivery.pk, "webhook": delivery.webhook_id, "attempt": delivery.attempts + 1}
    if outcome.error:
        log.warning("notice_not_delivered", **line, status=outcome.status_code, error=outcome.error)
    else:
        log.info("notice_delivered", **line, duration_ms=outcome.duration_ms)
