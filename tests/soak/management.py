"""An operator all the while: keys are issued, changed, rotated and revoked, and used meanwhile."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from itertools import cycle
from typing import Any, Final, Self

import httpx

from tests.faults.load import SPEND_PATH, TIMEOUT_SECONDS, Answer, Request
from tests.faults.rig import Key
from tests.servers import ADMIN_API_TOKEN

from .bounds import Bucket
from .traffic import EDITED_BURSTS, MixedLoad

BURST: Final = 4
PER_SECOND: Final = 1
PAUSE_SECONDS: Final = 0.05
_HEADERS: Final = {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}


class Abandoned(Exception):
    """A call was not answered as it should be, so the key's life ends here."""


class Management:
    """Lives of keys, one after the other, in a thread; and an edit of the edited key after each.

    ``answers`` are those about decisions; ``statuses`` counts the calls' answers.
    """

    def __init__(self, url: str, load: MixedLoad, edited: Key) -> None:
        self.answers: list[Answer] = []
        self.keys: list[Key] = []
        self.buckets: list[Bucket] = []
        self.statuses: Counter[str] = Counter()
        self.edited = Bucket("edited", [edited.secret], EDITED_BURSTS[1], edited.per_second)
        self._edited_id = edited.id
        self._url = url
        self._load = load
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="management")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        edits = cycle(
            [
                {"burst": EDITED_BURSTS[1]},
                {"owner_email": "owner@example.com"},
                {"is_active": False},
                {"is_active": True},
                {"burst": EDITED_BURSTS[0], "owner_email": ""},
            ]
        )
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_SECONDS, trust_env=False) as http:
            while not self._stop.is_set():
                for step in (self._live, lambda http: self._edit(http, next(edits))):
                    try:
                        step(http)
                    except Abandoned:
                        self._stop.wait(1.0)

    def _live(self, http: httpx.Client) -> None:
        """A key's life: both secrets of a rotation draw on one bucket, and neither works when revoked."""
        limits = {"name": "a life", "requests_per_hour": 3600 * PER_SECOND, "burst": BURST}
        first = self._call(http, HTTPStatus.CREATED, "POST", "/api/keys", limits)
        bucket = Bucket("issued and rotated", [], BURST, PER_SECOND)
        self.buckets.append(bucket)
        self._note(first, bucket)
        self._spend(http, first["key"], times=BURST + 2)
        self._call(http, HTTPStatus.OK, "PATCH", f"/api/keys/{first['id']}", {"name": "a changed life"})
        rotation = {"grace_seconds": 3600}
        second = self._call(http, HTTPStatus.CREATED, "POST", f"/api/keys/{first['id']}/rotate", rotation)
        self._note(second, bucket)
        for secret in bucket.secrets:
            self._spend(http, secret, times=3)
        for key in (first, second):
            self._call(http, HTTPStatus.NO_CONTENT, "DELETE", f"/api/keys/{key['id']}")
            self._spend(http, key["key"], times=3)

    def _note(self, issued: Mapping[str, Any], bucket: Bucket) -> None:
        self.keys.append(Key(issued["id"], PER_SECOND, BURST, issued["key"]))
        bucket.secrets.append(issued["key"])

    def _edit(self, http: httpx.Client, fields: Mapping[str, Any]) -> None:
        if "burst" in fields:
            # A raised burst adds the difference at once. Until all workers know of a lowered one, what one
            # has cut to the new burst another takes for the old. Said before: it may come true unheard.
            low, high = EDITED_BURSTS
            self.edited.added += high - low if fields["burst"] == high else high
        self._call(http, HTTPStatus.OK, "PATCH", f"/api/keys/{self._edited_id}", fields)

    def _call(
        self,
        http: httpx.Client,
        expected: HTTPStatus,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            answer = http.request(method, path, headers=_HEADERS, json=body)
        except httpx.TransportError as exc:
            self.statuses["no answer"] += 1
            raise Abandoned from exc
        self.statuses[str(answer.status_code)] += 1
        if answer.status_code != expected:
            raise Abandoned
        return answer.json() if answer.content else None

    def _spend(self, http: httpx.Client, secret: str, *, times: int) -> None:
        for _ in range(times):
            request = Request(secret, self._load.endpoint("/v1/lives"))
            due, status, mode, unheard = time.monotonic(), None, None, 0
            try:
                answer = http.post(SPEND_PATH, headers={"X-API-Key": secret}, json=request.body)
                status, mode = answer.status_code, answer.headers.get("x-ratelimit-mode")
            except (httpx.ConnectError, httpx.ConnectTimeout):  # it never arrived
                pass
            except httpx.TransportError:
                unheard = 1
            self.answers.append(Answer(due, time.monotonic() - due, status, mode, request, unheard))
            self._stop.wait(PAUSE_SECONDS)
