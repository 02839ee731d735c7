"""One tree of errors; each is answered as ``application/problem+json`` (RFC 9457).

A denial is no error: it is a ``Decision``, and only the API's edge makes a 429 of it.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self

TYPE_BASE: Final = "urn:ratelimiter:problem:"
UNFORESEEN: Final = "Something failed here that should not have; the request id finds it in the log."


@dataclass
class ApiError(Exception):
    """The root. ``detail`` is for the caller and never holds a secret; ``headers`` go with the answer."""

    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __str__(self) -> str:
        return self.detail

    def problem(self) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": TYPE_BASE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }


class BadRequest(ApiError):
    """What was sent is not HTTP, or could be read in two ways (RFC 9112)."""

    status, slug, title = 400, "bad-request", "That is not a request"


class MalformedBody(ApiError):
    """The body is not what its media type says."""

    status, slug, title = 400, "malformed-body", "The body cannot be read"


class Unauthenticated(ApiError):
    """No credential, or one that nobody was given."""

    status, slug, title = 401, "unauthenticated", "A valid credential is needed"


class KeyRefused(ApiError):
    """A known key that may not be used now, or not from there: revoked, paused, expired, or restricted."""

    status, slug, title = 403, "key-refused", "The key may not be used"


@dataclass
class MissingScope(ApiError):
    """A good token that does not open this; ``scope`` names what would (RFC 6750, 3.1)."""

    scope: str = ""

    status, slug, title = 403, "missing-scope", "The token lacks a scope"

    @classmethod
    def of(cls, scope: str) -> Self:
        """The error of a token without a scope."""
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        return cls(f"This takes a token with the scope {scope}.", {"WWW-Authenticate": challenge}, scope)

    def problem(self) -> dict[str, Any]:
        """The members of the problem document, with the scope that is needed."""
        return super().problem() | {"scope": self.scope}


class NotFound(ApiError):
    """Nothing lives there."""

    status, slug, title = 404, "not-found", "Not found"


class MethodNotAllowed(ApiError):
    """The path exists, the method does not; ``headers`` carries Allow."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class UnknownMethod(ApiError):
    """The method is none that HTTP defines (RFC 9110, 15.6.2)."""

    status, slug, title = 501, "unknown-method", "Unknown method"


class HeadTooSlow(ApiError):
    """The client takes too long to send its headers."""

    status, slug, title = 408, "head-too-slow", "The headers take too long"


class BodyTooSlow(ApiError):
    """The client takes too long to send its body."""

    status, slug, title = 408, "body-too-slow", "The body takes too long"


class Conflict(ApiError):
    """What was asked does not fit the present state."""

    status, slug, title = 409, "conflict", "That does not fit the present state"


class BodyTooLarge(ApiError):
    """The body is over the limit; the rest of it is not read."""

    status, slug, title = 413, "body-too-large", "The body is too large"


class HeadTooLarge(ApiError):
    """Request line and headers are over the limit, by bytes or by number (RFC 6585, 5)."""

    status, slug, title = 431, "head-too-large", "The headers are too large"


@dataclass
class InvalidInput(ApiError):
    """One or more fields are wrong; ``errors`` holds ``{"field", "message"}`` for each."""

    errors: list[dict[str, str]] = field(default_factory=list)

    status, slug, title = 422, "invalid-input", "The input is not valid"

    @classmethod
    def of(cls, errors: list[dict[str, str]]) -> Self:
        """The error of these fields, all named in the detail."""
        return cls("; ".join(f"{error['field']}: {error['message']}" for error in errors), errors=errors)

    @classmethod
    def at(cls, name: str, message: str) -> Self:
        """The error of one field."""
        return cls.of([{"field": name, "message": message}])

    def problem(self) -> dict[str, Any]:
        """The members of the problem document, with the fields that are wrong."""
        return super().problem() | {"errors": self.errors}


class IdempotencyKeyReused(ApiError):
    """Something else was asked with the same key (draft-ietf-httpapi-idempotency-key-header, 2.7)."""

    status, slug, title = 422, "idempotency-key-reused", "The idempotency key is used already"


class TooManyFailures(ApiError):
    """Too many failed attempts came from this address; ``headers`` carries Retry-After."""

    status, slug, title = 429, "too-many-failures", "Too many failed attempts"


class Unavailable(ApiError):
    """Something the answer needs is away; ``headers`` carries Retry-After."""

    status, slug, title = 503, "unavailable", "Not available just now"


class LimiterUnavailable(Unavailable):
    """Redis did not decide in time; nothing is known to have been spent."""

    slug = "limiter-unavailable"


class LimiterAway(LimiterUnavailable):
    """Redis is known to be away, and was not asked: nothing has been spent, and nothing recorded."""


class KeysUnavailable(Unavailable):
    """PostgreSQL did not answer, so an uncached key can be neither accepted nor refused."""

    slug = "keys-unavailable"


class TooManyConnections(Unavailable):
    """This worker serves as many connections as it may; ``headers`` carries Retry-After."""

    slug = "too-many-connections"
