"""The data plane: ``POST /api/request`` spends a key's tokens, ``GET /api/check`` shows its quota."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import structlog
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from ratelimiter import metrics
from ratelimiter.errors import (
    ApiError,
    InvalidInput,
    KeyRefused,
    LimiterUnavailable,
    MalformedBody,
    MethodNotAllowed,
)
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.record import KeyRecord
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.policy import Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log import record

from . import edge
from .authentication import authenticate, require_usable
from .headers import POLICY_NAME, rate_limit_headers
from .schemas import DecisionRequest, field_errors

REQUEST_PATH: Final = "/api/request"
CHECK_PATH: Final = "/api/check"
PATHS: Final = frozenset({REQUEST_PATH, CHECK_PATH})

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The problem type that draft-ietf-httpapi-ratelimit-headers registers."""

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)

_METHODS: Final = {REQUEST_PATH: "POST", CHECK_PATH: "GET"}
_DEFAULT_REQUEST: Final = DecisionRequest()


class DecisionApi:
    """An ASGI app for ``PATHS``; the rest is FastAPI's."""

    def __init__(self, directory: KeyDirectory, bucket: TokenBucket) -> None:
        self._directory = directory
        self._bucket = bucket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = perf_counter()
        path = scope["path"]
        identifier = edge.request_id(scope)
        try:
            await self._dispatch(scope, receive, send, identifier)
        except ConnectionResetError:
            pass  # the client went away before its request was complete: nobody is there to answer
        except Exception as exc:  # noqa: BLE001  # the edge: nothing may escape it
            error = exc if isinstance(exc, ApiError) else edge.internal_error(exc, identifier)
            metrics.ERRORS.labels(error.slug).inc()
            _log_problem(error, identifier, path)
            await edge.send_problem(send, error.status, error.problem(), identifier, error.headers)
        metrics.DURATION.labels(path).observe(perf_counter() - started)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, identifier: str) -> None:
        path, method = scope["path"], scope["method"]
        if method != _METHODS[path]:
            raise MethodNotAllowed(f"{path} answers {_METHODS[path]} only.", {"Allow": _METHODS[path]})
        if path == CHECK_PATH:
            await self._check(scope, send, identifier)
        else:
            await self._request(scope, receive, send, identifier)

    async def _request(self, scope: Scope, receive: Receive, send: Send, identifier: str) -> None:
        key = await self._key(scope)
        address = edge.client_ip(scope)
        try:
            require_usable(key)
        except KeyRefused:
            await self._record_refusal(key, address)
            raise
        asked = _parse(await edge.read_body(scope, receive))
        policy = Policy.of(key.requests_per_hour, key.burst)
        if asked.cost > policy.capacity:
            raise InvalidInput.at("cost", f"must be at most the burst, {policy.capacity}")
        decision = await self._bucket.take(
            key.subject, policy, asked.cost, record.encode(key.id, asked.cost, address, asked.endpoint)
        )
        if decision.allowed:
            metrics.DECISIONS.labels(key.tier, "allowed").inc()
            await _send_decision(send, key, decision, identifier)
        else:
            metrics.DECISIONS.labels(key.tier, "limited").inc()
            metrics.HITS.labels(key.tier).inc()
            await _send_denial(send, key, decision, identifier)

    async def _check(self, scope: Scope, send: Send, identifier: str) -> None:
        key = await self._key(scope)
        require_usable(key)
        decision = await self._bucket.peek(key.subject, Policy.of(key.requests_per_hour, key.burst))
        await _send_decision(send, key, decision, identifier)

    async def _record_refusal(self, key: KeyRecord, address: str | None) -> None:
        try:
            await self._bucket.refuse(key.subject, record.encode(key.id, 1, address, REQUEST_PATH))
        except LimiterUnavailable:
            metrics.LOG_DROPPED.inc()  # refusing needs no Redis; only the record of it does
        metrics.DECISIONS.labels(key.tier, "refused").inc()

    async def _key(self, scope: Scope) -> KeyRecord:
        presented = edge.header(scope, b"x-api-key")
        return await authenticate(self._directory, None if presented is None else presented.decode("latin-1"))


def _log_problem(error: ApiError, identifier: str, path: str) -> None:
    """One line for an answer that is no decision; a client's mistakes only when debugging.

    Whoever sends garbage must not fill the disk with it; the metrics count each of them.
    """
    level = logging.WARNING if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.DEBUG
    log.log(
        level,
        "no_decision",
        request_id=identifier,
        route=path,
        status=error.status,
        problem=error.slug,
        cause=repr(error.__cause__) if error.__cause__ else None,
    )


def _parse(body: bytes) -> DecisionRequest:
    if not body:
        return _DEFAULT_REQUEST
    try:
        return DecisionRequest.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise MalformedBody(errors[0]["msg"].replace("Invalid JSON", "The body is not JSON")) from exc
        raise InvalidInput.of(field_errors(errors)) from exc


def _answer(key: KeyRecord, decision: Decision) -> dict[str, bool | int | str]:
    return {
        "allowed": decision.allowed,
        "tier": key.tier,
        "limit": decision.policy.capacity,
        "remaining": decision.remaining,
        "reset_after_seconds": decision.reset_after_seconds,
    }


async def _send_decision(send: Send, key: KeyRecord, decision: Decision, identifier: str) -> None:
    await _send(send, 200, b"application/json", _answer(key, decision), decision, identifier)


async def _send_denial(send: Send, key: KeyRecord, decision: Decision, identifier: str) -> None:
    wait = decision.retry_after_seconds
    problem = {
        "type": QUOTA_EXCEEDED,
        "title": "The quota is exceeded",
        "status": 429,
        "detail": f"The bucket does not hold {decision.cost} token(s) now; try again in {wait} s.",
        "violated-policies": [POLICY_NAME],
        **_answer(key, decision),
    }
    await _send(send, 429, edge.PROBLEM_JSON, problem, decision, identifier)


async def _send(
    send: Send, status: int, media_type: bytes, answer: Mapping[str, Any], decision: Decision, identifier: str
) -> None:
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", identifier.encode()),
        *rate_limit_headers(decision),
    ]
    await edge.send_response(send, status, headers, body)
