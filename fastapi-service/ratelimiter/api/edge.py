"""What every answer has in common, on the data plane and on FastAPI's routes alike.

Request ids, the body limit, problem documents, one log line a management call.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from random import getrandbits
from time import perf_counter
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ratelimiter import addresses, metrics
from ratelimiter.errors import UNFORESEEN, ApiError, BodyTooLarge, BodyTooSlow, UnknownMethod
from ratelimiter.protocol import send_response

MAX_BODY_BYTES: Final = 4096
MAX_KEY_BODY_BYTES: Final = 16_384
"""Of what is said of a key: its note may have 2 000 characters, of four bytes each."""
MAX_BODY_SECONDS: Final = 5
PROBLEM_JSON: Final = b"application/problem+json"

# No key, which somebody may send there: a request id stands in the log and in the audit.
_REQUEST_ID: Final = re.compile(rb"(?!.{0,60}rl[km]_)[A-Za-z0-9._-]{1,64}")
METHODS: Final = frozenset(
    {"GET", "HEAD", "QUERY", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)
_UNMATCHED: Final = "unmatched"
_KEYS_PATH: Final = "/api/keys"
_OF_THE_BODY: Final = frozenset({b"content-type", b"content-length", b"transfer-encoding"})

Headers = dict[bytes, bytes]

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


def headers_of(scope: Scope) -> Headers:
    """The request's headers by lower-case name; the first, where one was sent more than once."""
    return dict(reversed(scope["headers"]))


def request_id(headers: Headers) -> str:
    """The caller's X-Request-ID if it can be taken over as it is, else a new one."""
    sent = headers.get(b"x-request-id")
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent.decode()
    return f"{getrandbits(128):032x}"  # it has to be unique, not secret


def client_ip(scope: Scope, form: addresses.Form = addresses.clean) -> str | None:
    """The client's address as the server saw it, or a trusted proxy told it."""
    client = scope.get("client")
    return form(client[0]) if client else None


async def read_body(headers: Headers, receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: over ``limit``, in bytes; what is beyond has not been read.
        BodyTooSlow: not complete within ``MAX_BODY_SECONDS``.
        ConnectionResetError: the client went away before it was complete.

    """
    announced = headers.get(b"content-length")
    if announced in {None, b"0"} and b"transfer-encoding" not in headers:
        return b""
    if announced is not None and _number(announced) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(MAX_BODY_SECONDS):
            return await _read_all(receive, limit)
    except TimeoutError as exc:
        raise BodyTooSlow(
            f"The body must be here within {MAX_BODY_SECONDS} s.", {"Connection": "close"}
        ) from exc


def _number(digits: bytes) -> int:
    """A header's number, as far as it matters here: int() refuses one of thousands of digits."""
    significant = digits.lstrip(b"0")[:18]
    return int(significant) if significant.isdigit() else 0


async def _read_all(receive: Receive, limit: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client went away while sending the body")
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return body


async def send_problem(
    send: Send, status: int, problem: Mapping[str, Any], identifier: str, headers: Mapping[str, str]
) -> None:
    """Send a problem document (RFC 9457)."""
    body = json.dumps(problem).encode()
    fixed = [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", identifier.encode()),
    ]
    await send_response(
        send, status, fixed + [(k.lower().encode(), v.encode()) for k, v in headers.items()], body
    )


def internal_error(exc: BaseException, identifier: str) -> ApiError:
    """Log a failure nobody foresaw; the caller learns the request id to ask about, and no more."""
    log.error("request_failed", request_id=identifier, exc_info=exc)
    return ApiError(UNFORESEEN)


class Edge:
    """The ASGI middleware around FastAPI: the same contract that the data plane keeps by itself."""

    def __init__(self, app: ASGIApp, address_form: addresses.Form) -> None:
        self._app = app
        self._address_form = address_form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        headers = headers_of(scope)
        identifier = request_id(headers)
        scope.setdefault("state", {})["request_id"] = identifier
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identifier.encode())]
            await send(message)

        try:
            _require_known_method(scope)
            limit = MAX_KEY_BODY_BYTES if scope["path"].startswith(_KEYS_PATH) else MAX_BODY_BYTES
            body = await read_body(headers, receive, limit)
            with structlog.contextvars.bound_contextvars(request_id=identifier):
                await self._app(_as_json(scope, body), _replay(body, receive), send_with_id)
        except ConnectionResetError:
            status = 499  # nginx's code for a client that closed the connection; nobody sees it sent
        except Exception as exc:  # noqa: BLE001  # the edge: nothing may escape it
            error = exc if isinstance(exc, ApiError) else internal_error(exc, identifier)
            if status == 0:
                status = error.status
                await send_problem(send, status, error.problem(), identifier, error.headers)
        finally:
            seconds = perf_counter() - started
            route = getattr(scope.get("route"), "path", _UNMATCHED)
            metrics.DURATION.labels(route).observe(seconds)
            if route.startswith("/api/"):
                log.info(
                    "request",
                    request_id=identifier,
                    method=scope["method"],
                    route=route,
                    status=status,
                    duration_ms=round(seconds * 1000, 2),
                    client_ip=client_ip(scope, self._address_form),
                )


def _require_known_method(scope: Scope) -> None:
    """Refuse what is no method of HTTP: it would become the label of a metric."""
    if scope["method"] not in METHODS:
        raise UnknownMethod("The method is none that HTTP defines.")


def _as_json(scope: Scope, body: bytes) -> Scope:
    """Every body here is JSON, whatever its media type says (``curl -d`` calls it a form).

    A browser's forged form gains nothing by that: it cannot carry a bearer token or a key. The length is
    that of the body, since what is behind would stumble over one that is written with thousands of zeros.
    """
    scope["headers"] = [
        *((name, value) for name, value in scope["headers"] if name not in _OF_THE_BODY),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return scope


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body already read, then what comes after it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body may have {limit} bytes at most.", {"Connection": "close"})
