"""The chapters of `make demo`: what is asked of the platform, and what is said about the answers."""

import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any, Final

import httpx
import psycopg2
from rich.table import Column, Table

from local.errors import LocalError
from local.stage import Chart, Stage, bucket

BURST: Final = 20
REQUESTS_PER_HOUR: Final = 7200
REQUESTS_A_SECOND: Final = 8

_READ_SECONDS = 5.0
_GLANCE_SECONDS = 2.0
_FLOOD = 300
_LOG_SECONDS = 20.0
_REVOCATION_SECONDS = 5.0
_CONNECTIONS = 8
_LIMITS: Final = ("x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit-policy", "ratelimit")
_COUNTED: Final = """
    SELECT status_code, count(*), sum(count) FROM request_log WHERE api_key_id = ANY(%s) GROUP BY 1 ORDER BY 1
"""
_SHOWN_SQL: Final = """psql "$DATABASE_URL" -c "SELECT status_code, count(*), sum(count)
    FROM request_log WHERE api_key_id IN ({ids}) GROUP BY 1 ORDER BY 1\""""
_SPEND: Final = 'curl -i -X POST $API_URL/api/request -H "X-API-Key: $KEY"'


class Tour:
    """The chapters, in their order; each one leaves to the next what it made."""

    def __init__(self, stage: Stage, client: httpx.Client, values: Mapping[str, str]) -> None:
        """Play on `stage` what the platform behind `client` answers; `values` are those of its `env` file."""
        self._stage = stage
        self._client = client
        self._values = values
        self._management = {"Authorization": f"Bearer {values['ADMIN_API_TOKEN']}"}
        self._answers: Counter[int] = Counter()
        self._ids: list[int] = []

    def play(self) -> None:
        """All chapters."""
        key = self._issue()
        try:
            self._spend_one(key)
            self._spend_all(key)
            self._wait(key)
            self._watch(key)
            new = self._rotate(key)
            self._revoke(key, new)
            self._compare()
        finally:
            with suppress(httpx.HTTPError):  # the first failure is the one to be told
                for key_id in self._ids:
                    self._client.delete(f"/api/keys/{key_id}", headers=self._management)
        self._farewell()

    def _issue(self) -> str:
        self._stage.chapter(
            "1. Issue a key", "For a client that may make 7 200 requests an hour, and 20 of them at once."
        )
        asked = {"name": "checkout", "requests_per_hour": REQUESTS_PER_HOUR, "burst": BURST}
        self._stage.type(
            'curl -i $API_URL/api/keys -H "Authorization: Bearer $ADMIN_API_TOKEN" \\\n'
            f"    --json '{json.dumps(asked)}'"
        )
        answer = self._manage("/api/keys", asked)
        issued = answer.json()
        shown = ("id", "name", "tier", "requests_per_hour", "burst", "created_at")
        self._stage.answer(answer, (), {name: issued[name] for name in shown} | {"key": issued["hint"]})
        self._stage.say("The key is shown this once (and shortened here). PostgreSQL keeps only its SHA-256.")
        self._stage.pause(_READ_SECONDS)
        return str(issued["key"])

    def _spend_one(self, key: str) -> None:
        self._stage.chapter("2. Spend a token", "One call decides and records, and says what is left.")
        self._stage.type(_SPEND)
        answer = self._spend(key)
        self._stage.answer(answer, _LIMITS, answer.json())
        self._stage.pause(_READ_SECONDS)

    def _spend_all(self, key: str) -> None:
        self._stage.chapter("3. Spend them all", "As fast as one client can ask, until it is told to stop.")
        self._stage.type(f"while {_SPEND.replace('-i', '-sf')}; do :; done")
        with self._stage.motion() as motion:
            allowed = 0
            while (answer := self._spend(key)).status_code == httpx.codes.OK:
                allowed += 1
                motion.show(bucket(answer.json()["remaining"], BURST), f"{allowed} more allowed")
                self._stage.pause(0.15)
            motion.show(bucket(answer.json()["remaining"], BURST), f"{allowed} more allowed, then denied:")
        self._stage.answer(answer, ("retry-after", "content-type"), _of_problem(answer))
        self._stage.pause(_GLANCE_SECONDS)

    def _wait(self, key: str) -> None:
        self._stage.chapter(
            "4. Wait as long as it says",
            "A denial costs nothing, and Retry-After is exact: to wait so long is enough.",
        )
        asked = {"endpoint": "/v1/exports", "cost": BURST if self._stage.moves else 4}
        self._stage.type(f"{_SPEND} \\\n    --json '{json.dumps(asked)}'")
        answer = self._spend(key, asked)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._stage.answer(answer, ("retry-after",), None)
            wait_seconds = int(answer.headers["retry-after"])
            passes = time.monotonic() + wait_seconds
            with self._stage.motion() as motion:
                while (left := passes - time.monotonic()) > 0:
                    motion.show(bucket(self._check(key), BURST), f"{left:.1f} s to wait")
                    time.sleep(min(left, 0.1))
                motion.show(bucket(self._check(key), BURST), f"{wait_seconds} s have passed")
            answer = self._spend(key, asked)
            if answer.status_code != httpx.codes.OK:
                raise LocalError("Retry-After was not enough.")
        self._stage.answer(answer, ("x-ratelimit-remaining",), None)
        self._stage.pause(_READ_SECONDS)

    def _watch(self, key: str) -> None:
        seconds = 12 if self._stage.moves else 5
        self._manage(f"/api/keys/{self._ids[0]}/reset")
        self._stage.chapter(
            "5. Watch",
            f"The bucket was reset: it is full again. Now {REQUESTS_A_SECOND} requests a second. The burst"
            " passes, and then the 2 a second that come back.",
        )
        chart = Chart()
        with self._stage.motion() as motion:
            began = time.monotonic()
            for number in range(seconds * REQUESTS_A_SECOND):
                time.sleep(max(0.0, began + number / REQUESTS_A_SECOND - time.monotonic()))
                answer = self._spend(key)
                chart.count(number // REQUESTS_A_SECOND, allowed=answer.status_code == httpx.codes.OK)
                motion.show(chart, "", bucket(answer.json()["remaining"], BURST))
        began = time.monotonic()
        denied = sum(self._spend(key).status_code != httpx.codes.OK for _ in range(_FLOOD))
        each_ms = (time.monotonic() - began) / _FLOOD * 1000
        self._stage.say(
            f"Then {_FLOOD} as fast as they go: {denied} of them denied, {each_ms:.1f} ms each. A worker"
            " knows for how long the bucket is empty, and need not ask Redis."
        )
        self._stage.type("curl -s $API_URL/metrics | grep ^rate_limit_decisions")
        metrics = self._client.get("/metrics").text.splitlines()
        self._stage.show("\n".join(line for line in metrics if line.startswith("rate_limit_decisions_total")))
        self._stage.pause(_READ_SECONDS)

    def _rotate(self, key: str) -> str:
        self._stage.chapter(
            "6. Rotate",
            "A new key for the same client. The old one works for another hour, so nobody is cut off.",
        )
        self._stage.type(
            f'curl $API_URL/api/keys/{self._ids[0]}/rotate -H "Authorization: Bearer $ADMIN_API_TOKEN" \\\n'
            "    --json '{\"grace_seconds\": 3600}'"
        )
        answer = self._manage(f"/api/keys/{self._ids[0]}/rotate", {"grace_seconds": 3600})
        issued = answer.json()
        self._stage.answer(
            answer, (), {"id": issued["id"], "replaces": issued["replaces"], "key": issued["hint"]}
        )
        new = str(issued["key"])
        table = Table("key", Column("tokens left", justify="right"))
        table.add_row("the old one", str(self._check(key)))
        table.add_row("the new one", str(self._check(new)))
        self._stage.show(table)
        self._stage.say("They draw on one bucket: a rotation mints no second burst.")
        self._stage.pause(_READ_SECONDS)
        return new

    def _revoke(self, key: str, new: str) -> None:
        self._stage.chapter(
            "7. Revoke",
            "The old key has leaked. Every worker must refuse it, on connections that are open too.",
        )
        self._stage.type(
            f'curl -i -X DELETE $API_URL/api/keys/{self._ids[0]} -H "Authorization: Bearer $ADMIN_API_TOKEN"'
        )
        old = {"X-API-Key": key}
        with ExitStack() as stack:
            clients = [
                stack.enter_context(httpx.Client(base_url=self._client.base_url, trust_env=False))
                for _ in range(_CONNECTIONS)
            ]
            for client in clients:
                client.get("/api/check", headers=old).raise_for_status()
            answer = self._client.delete(f"/api/keys/{self._ids[0]}", headers=self._management)
            answer.raise_for_status()
            revoked = time.monotonic()
            for client in clients:
                while client.get("/api/check", headers=old).status_code != httpx.codes.FORBIDDEN:
                    if time.monotonic() > revoked + _REVOCATION_SECONDS:
                        raise LocalError(f"A revoked key still works after {_REVOCATION_SECONDS:.0f} s.")
            took_ms = (time.monotonic() - revoked) * 1000
        self._stage.answer(answer, (), None)
        self._stage.say(
            f"[bold]{took_ms:.0f} ms[/] later all {_CONNECTIONS} connections to the workers had been refused:"
        )
        self._stage.type(_SPEND)
        refused = self._spend(key)
        self._stage.answer(refused, ("content-type",), _of_problem(refused))
        self._stage.say(f"The new key goes on: {self._spend(new).status_code}.")
        self._stage.pause(_READ_SECONDS)

    def _compare(self) -> None:
        self._stage.chapter(
            "8. Look into the log",
            "Every decision is a row in PostgreSQL. Denials in a flood share rows, with a count.",
        )
        self._stage.type(_SHOWN_SQL.format(ids=", ".join(map(str, self._ids))))
        deadline = time.monotonic() + _LOG_SECONDS
        while _totals(rows := self._rows()) != self._answers:
            if time.monotonic() > deadline:
                raise LocalError(f"The log says {rows}, but the answers were {dict(self._answers)}.")
            time.sleep(0.1)
        table = Table(
            "status", *(Column(name, justify="right") for name in ("rows", "requests", "answers here"))
        )
        for status, count, total in rows:
            table.add_row(*map(str, (status, count, total, self._answers[status])))
        self._stage.show(table)
        self._stage.say("Not one more, not one less.")
        self._stage.pause(_READ_SECONDS)

    def _farewell(self) -> None:
        self._stage.chapter("What next", "For a platform that stays:")
        self._stage.show(
            "[bold]make run[/]                 PostgreSQL, Redis, API and admin on this machine\n"
            "[bold]docker compose up -d[/]     with nginx, Prometheus and Grafana (make env first)\n"
            "[bold]README.md[/]                the same tour with curl, and how it is built\n"
            "[bold]DEPLOYMENT.md[/]            servers, upgrades, backups, runbooks"
        )

    def _manage(self, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        answer = self._client.post(path, headers=self._management, json=body)
        answer.raise_for_status()
        if answer.status_code == httpx.codes.CREATED:
            self._ids.append(answer.json()["id"])
        return answer

    def _spend(self, key: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        answer = self._client.post("/api/request", headers={"X-API-Key": key}, json=body)
        if answer.is_server_error:
            answer.raise_for_status()
        self._answers[answer.status_code] += 1
        return answer

    def _check(self, key: str) -> int:
        answer = self._client.get("/api/check", headers={"X-API-Key": key})
        answer.raise_for_status()
        return int(answer.json()["remaining"])

    def _rows(self) -> list[tuple[int, int, int]]:
        connection = psycopg2.connect(self._values["DATABASE_URL"], connect_timeout=5)
        try:
            with connection.cursor() as cursor:
                cursor.execute(_COUNTED, [self._ids])
                return cursor.fetchall()
        finally:
            connection.close()


def _totals(rows: list[tuple[int, int, int]]) -> dict[int, int]:
    return {status: total for status, _, total in rows}


def _of_problem(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    return {name: body[name] for name in ("title", "status", "detail")}
