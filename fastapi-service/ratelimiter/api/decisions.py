"""The data plane: ``POST /api/request`` spends a key's tokens, ``GET /api/check`` shows its quota."""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import Final
from urllib.parse import parse_qs

import structlog
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from ratelimiter import addresses, metrics
from ratelimiter.errors import (
    ApiError,
    InvalidInput,
    KeyRefused,
    LimiterAway,
    LimiterUnavailable,
    MalformedBody,
    MethodNotAllowed,
    Unauthenticated,
)
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.record import KeyRecord
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.fallback import Fallback, Mode
from ratelimiter.limiter.plan import Limits
from ratelimiter.limiter.policy import Policy
from ratelimiter.limiter.token_bucket import Once, TokenBucket
from ratelimiter.protocol import send_whole
from ratelimiter.request_log import record
from ratelimiter.request_log.coalescer import Coalescer

from . import edge
from .answers import Answer, decision_answer, denial_answer, unauthenticated_answer
from .authentication import authenticate, require_usable
from .idempotency import IDEMPOTENCY_KEY, once_of
from .plans import limits_at, policy_of, require_reachable
from .schemas import DecisionRequest, field_errors

REQUEST_PATH: Final = "/api/request"
CHECK_PATH: Final = "/api/check"
PATHS: Final = frozenset({REQUEST_PATH, CHECK_PATH})

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)

_METHODS: Final = {REQUEST_PATH: "POST", CHECK_PATH: "GET"}
_DEFAULT_REQUEST: Final = DecisionRequest()


class DecisionApi:
    """An ASGI app for ``PATHS``; the rest is FastAPI's."""

    def __init__(
        self,
        directory: KeyDirectory,
        bucket: TokenBucket,
        fallback: Fallback,
        coalescer: Coalescer,
        address_form: addresses.Form,
    ) -> None:
        self._directory = directory
        self._bucket = bucket
        self._fallback = fallback
        self._coalescer = coalescer
        self._address_form = address_form
        self._tally = metrics.Tally()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        started = perf_counter()
        path = scope["path"]
        headers = edge.headers_of(scope)
        identifier = edge.request_id(headers)
        try:
            _require_method(scope["method"], path)
            if path == CHECK_PATH:
                answer = await self._check(scope, headers, identifier)
            else:
                answer = await self._request(scope, headers, receive, identifier)
            await send_whole(send, *answer)
        except Unauthenticated as exc:
            self._tally.error(exc.slug)
            await send_whole(send, *unauthenticated_answer(exc, identifier))
        except ConnectionResetError:
            pass  # the client went away before its request was complete: nobody is there to answer
        except Exception as exc:  # noqa: BLE001  # the edge: nothing may escape it
            error = exc if isinstance(exc, ApiError) else edge.internal_error(exc, identifier)
            self._tally.error(error.slug)
            _log_problem(error, identifier, path)
            await edge.send_problem(send, error.status, error.problem(), identifier, error.headers)
        self._tally.duration(path, perf_counter() - started)

    async def _request(
        self, scope: Scope, headers: edge.Headers, receive: Receive, identifier: str
    ) -> Answer:
        key = await self._key(headers)
        address = edge.client_ip(scope, self._address_form)
        try:
            require_usable(key, scope)
        except KeyRefused:
            await self._record_refusal(key, address)
            raise
        body = await edge.read_body(headers, receive)
        asked = _parse(body) if body else _DEFAULT_REQUEST
        cost, endpoint = asked.cost, asked.endpoint
        policy, limits = policy_of(key), limits_at(key, endpoint)
        once = once_of(scope["headers"], cost, endpoint) if IDEMPOTENCY_KEY in headers else None
        decision = await self._known(key.subject, policy, cost, limits, once)
        if decision is not None:
            if decision.is_replayed:
                return self._answer(key.tier, decision, identifier)
            self._coalesce(key, endpoint, cost, decision, address)
            self._tally.cached_denial(key.tier)
            self._tell_shadows(key.tier, decision)
            return denial_answer(key.tier, decision, identifier)
        entry = record.encode(key.id, cost, address, endpoint)
        try:
            decision = await self._bucket.take(key.subject, policy, cost, entry, limits, once)
        except LimiterUnavailable as exc:
            mode = Mode(key.fallback)
            if mode is Mode.CLOSED:
                raise
            decision = self._fallback.take(mode, key.subject, policy, cost, limits)
            # Where Redis may have recorded it its id tells, which a denial that is counted with others loses.
            if decision.allowed or not isinstance(exc, LimiterAway):
                self._bucket.append(key.subject, entry, decision.outcome)
            else:
                self._coalesce(key, endpoint, cost, decision, address)
            if limits.has_quotas:
                metrics.QUOTAS_UNASKED.inc()
            if once is not None:
                metrics.UNREMEMBERED.inc()
            return self._answer(key.tier, decision, identifier, mode)
        return self._answer(key.tier, decision, identifier)

    async def _known(
        self, subject: int, policy: Policy, cost: int, limits: Limits, once: Once | None
    ) -> Decision | None:
        """A denial from memory, or what its idempotency key was answered; ``None``: a take has to tell.

        Redis is asked for a key, but not to record: a flood of denials is not to fill the log by way of such.

        Raises:
            InvalidInput: the limits as they are now never admit the cost, and did not before.

        """
        try:
            require_reachable(cost, policy, limits)
        except InvalidInput:
            # It may have been admitted, and the limits lowered since.
            found = once and await self._first_answer(subject, policy, cost, limits, once)
            if found is None or not found.is_replayed:
                raise
            return found
        denial = self._bucket.denials.find(subject, policy, cost, limits)
        if denial is None or once is None:
            return denial
        found = await self._first_answer(subject, policy, cost, limits, once)
        if found is None or found.is_replayed:
            return found
        return None if found.allowed else denial

    async def _first_answer(
        self, subject: int, policy: Policy, cost: int, limits: Limits, once: Once
    ) -> Decision | None:
        """What an idempotency key was answered, if it was, else what would be decided; ``None``: unknown."""
        try:
            return await self._bucket.peek(subject, policy, cost, limits, once)
        except LimiterUnavailable:
            return None

    async def _check(self, scope: Scope, headers: edge.Headers, identifier: str) -> Answer:
        key = await self._key(headers)
        require_usable(key, scope)
        policy, limits = policy_of(key), limits_at(key, _endpoint(scope))
        try:
            decision = await self._bucket.peek(key.subject, policy, 1, limits)
        except LimiterUnavailable:
            mode = Mode(key.fallback)
            if mode is Mode.CLOSED:
                raise
            decision = self._fallback.peek(mode, key.subject, policy, 1, limits)
            return decision_answer(key.tier, decision, identifier, mode)
        return decision_answer(key.tier, decision, identifier)

    def _answer(self, tier: str, decision: Decision, identifier: str, mode: Mode | None = None) -> Answer:
        """Count a decision, and say it."""
        if decision.is_replayed:
            metrics.REPLAYS.inc()
        else:
            outcome = "allowed" if decision.allowed else "limited"
            if mode is not None:
                metrics.FALLBACK_DECISIONS.labels(mode, outcome).inc()
            self._tally.decision(tier, outcome)
            self._tell_shadows(tier, decision)
        answer = decision_answer if decision.allowed else denial_answer
        return answer(tier, decision, identifier, mode)

    def _coalesce(
        self, key: KeyRecord, endpoint: str, cost: int, denial: Decision, address: str | None
    ) -> None:
        """Record a denial that was decided here, perhaps with others."""
        self._coalescer.add(key.subject, key.id, endpoint, cost, denial.remaining, address, denial.marks)

    def _tell_shadows(self, tier: str, decision: Decision) -> None:
        if decision.answers:
            for name in decision.shadow_denials:
                self._tally.shadow_denial(tier, name)

    async def _record_refusal(self, key: KeyRecord, address: str | None) -> None:
        entry = record.encode(key.id, 1, address, REQUEST_PATH)
        try:
            await self._bucket.refuse(key.subject, entry)
        except LimiterUnavailable:  # refusing needs no Redis; the record of it follows when it is back
            self._bucket.append(key.subject, entry, b"403")
        self._tally.decision(key.tier, "refused")

    def _key(self, headers: edge.Headers) -> Awaitable[KeyRecord]:
        presented = headers.get(b"x-api-key")
        return authenticate(self._directory, None if presented is None else presented.decode("latin-1"))


def _require_method(method: str, path: str) -> None:
    if method != _METHODS[path]:
        raise MethodNotAllowed(f"{path} answers {_METHODS[path]} only.", {"Allow": _METHODS[path]})


def _endpoint(scope: Scope) -> str:
    """The endpoint that a look is for: ``?endpoint=…``, else a request's default."""
    sent = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("endpoint")
    if sent is None:
        return _DEFAULT_REQUEST.endpoint
    return _validated(lambda: DecisionRequest.model_validate({"endpoint": sent[0]})).endpoint


def _log_problem(error: ApiError, identifier: str, path: str) -> None:
    """One line for an answer that is no decision; a client's mistakes only when debugging.

    Whoever sends garbage must not fill the disk with it; the metrics count each of them.
    """
    is_ours = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    log.log(
        logging.WARNING if is_ours else logging.DEBUG,
        "no_decision",
        request_id=identifier,
        route=path,
        status=error.status,
        problem=error.slug,
        # Of a client's mistake it would quote what was sent, which may be a key.
        cause=repr(error.__cause__) if is_ours and error.__cause__ else None,
    )


def _parse(body: bytes) -> DecisionRequest:
    return _validated(lambda: DecisionRequest.model_validate_json(body))


def _validated(validate: Callable[[], DecisionRequest]) -> DecisionRequest:
    try:
        return validate()
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise MalformedBody(errors[0]["msg"].replace("Invalid JSON", "The body is not JSON")) from exc
        raise InvalidInput.of(field_errors(errors)) from exc
