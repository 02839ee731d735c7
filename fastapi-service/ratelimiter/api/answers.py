"""A decision as an answer: status, headers, body.

Put together as bytes, since this runs for every request: what ``json.dumps`` would make of the same
fields (a test compares), at a fifth of its cost.
"""

import json
from functools import lru_cache
from typing import Final

from ratelimiter.errors import Unauthenticated
from ratelimiter.limiter.decision import DEFAULT, Decision

from .edge import PROBLEM_JSON
from .headers import Told, rate_limit_headers, told

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""The problem type that draft-ietf-httpapi-ratelimit-headers registers."""

Answer = tuple[int, bytes, bytes]
"""Status, headers as lines, body."""

_FIELDS: Final = b'"allowed": %b, "tier": %b, "limit": %d, "remaining": %d, "reset_after_seconds": %d}'
_FIELDS_OF_ALL: Final = _FIELDS[:-1] + b', "limits": %b}'
_DECISION: Final = b"{" + _FIELDS


def _denial(detail: str, violated: list[str]) -> bytes:
    problem = {
        "type": QUOTA_EXCEEDED,
        "title": "The quota is exceeded",
        "status": 429,
        "detail": detail,
        "violated-policies": violated,
    }
    return json.dumps(problem).encode()[:-1] + b", "


_DENIAL: Final = _denial("The bucket does not hold %d token(s) now; try again in %d s.", [DEFAULT]) + _FIELDS
_DENIAL_OF_ALL: Final = (
    _denial("%d token(s) are more than is left of %b; try again in %d s.", []).replace(b"[]", b"[%b]") + b"%b"
)


def decision_answer(tier: str, decision: Decision, identifier: str, mode: str | None = None) -> Answer:
    """What a look or an admitted request is answered.

    ``identifier`` is the request's id; ``mode`` says how it was decided, if not by Redis.
    """
    allowed = b"true" if decision.allowed else b"false"
    if decision.answers:
        of_all = told(decision)
        body = b"{" + _fields_of_all(tier, decision, of_all)
        return 200, _headers(b"application/json", body, decision, identifier, mode, of_all.headers), body
    body = _DECISION % (
        allowed,
        _json(tier),
        decision.policy.capacity,
        decision.remaining,
        decision.reset_after_seconds,
    )
    return 200, _headers(b"application/json", body, decision, identifier, mode), body


def denial_answer(tier: str, decision: Decision, identifier: str, mode: str | None = None) -> Answer:
    """What a denied request is answered: a problem document with the decision's fields."""
    if decision.answers:
        of_all, violated = told(decision), decision.violated
        body = _DENIAL_OF_ALL % (
            decision.cost,
            _json(", ".join(violated))[1:-1],
            decision.wait_seconds,
            b", ".join(map(_json, violated)),
            _fields_of_all(tier, decision, of_all),
        )
        return 429, _headers(PROBLEM_JSON, body, decision, identifier, mode, of_all.headers), body
    body = _DENIAL % (
        decision.cost,
        decision.retry_after_seconds,
        b"false",
        _json(tier),
        decision.policy.capacity,
        decision.remaining,
        decision.reset_after_seconds,
    )
    return 429, _headers(PROBLEM_JSON, body, decision, identifier, mode), body


def unauthenticated_answer(error: Unauthenticated, identifier: str) -> Answer:
    """What a request is answered that has no key, or one that nobody was given: such come in floods."""
    before, after, body = _unauthenticated(error.detail, error.headers["WWW-Authenticate"])
    return error.status, before + identifier.encode() + after, body


@lru_cache(maxsize=16)
def _unauthenticated(detail: str, challenge: str) -> tuple[bytes, bytes, bytes]:
    body = json.dumps(Unauthenticated(detail).problem()).encode()
    before = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: " % (PROBLEM_JSON, len(body))
    return before, b"\r\nwww-authenticate: %b\r\n" % challenge.encode(), body


def _fields_of_all(tier: str, decision: Decision, of_all: Told) -> bytes:
    """The fields of the limit that holds the least, and then those of each."""
    return _FIELDS_OF_ALL % (
        b"true" if decision.allowed else b"false",
        _json(tier),
        of_all.capacity,
        of_all.remaining,
        of_all.reset_after_seconds,
        of_all.limits,
    )


def _headers(
    media_type: bytes,
    body: bytes,
    decision: Decision,
    identifier: str,
    mode: str | None,
    rate_limit_lines: bytes | None = None,
) -> bytes:
    lines = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b" % (
        media_type,
        len(body),
        identifier.encode(),
        rate_limit_headers(decision) if rate_limit_lines is None else rate_limit_lines,
    )
    if decision.is_replayed:
        lines += b"idempotency-replayed: true\r\n"
    return lines if mode is None else lines + b"x-ratelimit-mode: %b\r\n" % mode.encode()


@lru_cache(maxsize=256)
def _json(tier: str) -> bytes:
    return json.dumps(tier).encode()
