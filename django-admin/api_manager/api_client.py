"""What only the API knows: a key's bucket, and how its own service is. It is asked at ``API_URL``.

For a bucket it is asked with ``API_TOKEN``, a management token for which the scope ``keys:read`` is enough;
its ``/health`` asks for none. Nothing here raises: when the API is away, slow or refuses, the answer is an
``Unavailable``, a sentence for the operator. Each such failure is logged, without the token, and every call
is counted in ``admin_api_calls_total``.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from http import HTTPStatus
from typing import Final, TypeVar

import httpx
import structlog
from django.conf import settings
from prometheus_client import Counter
from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError

DEADLINE_SECONDS: Final = 0.5
"""For the whole call: finding the host's address, connecting, and reading the answer."""

_HEALTH_STATUSES: Final = frozenset({HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE})

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How a call ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"


_CALLS: Final = Counter("admin_api_calls", "Calls of the admin to the API, by outcome.", ["outcome"])
for _outcome in Outcome:
    _CALLS.labels(_outcome)  # a series that is there from the start, at 0, is one that a rate can be made of


class Limit(BaseModel):
    """What one of a key's limits holds at a moment; the bucket is the one called ``default``."""

    model_config = ConfigDict(frozen=True)

    name: str
    limit: NonNegativeInt
    remaining: NonNegativeInt
    endpoint_prefix: str | None
    is_shadow: bool


class Bucket(BaseModel):
    """A key's bucket at a moment: whole tokens, and when it will be full again (None: it is)."""

    model_config = ConfigDict(frozen=True)

    limit: NonNegativeInt
    remaining: NonNegativeInt
    full_at: AwareDatetime | None
    full_in_seconds: NonNegativeFloat
    as_of: AwareDatetime
    limits: tuple[Limit, ...] = ()
    """Of an API of before further limits: none."""

    @property
    def further(self) -> list[Limit]:
        """The limits beside the bucket."""
        return [limit for limit in self.limits if limit.name != "default"]


class RequestLogCheck(BaseModel):
    """The stream before the log: records that wait in it, and for how long the oldest has.

    Both are None when Redis does not answer the API.
    """

    model_config = ConfigDict(frozen=True)

    backlog: NonNegativeInt | None = None
    lag_seconds: NonNegativeFloat | None = None


class Checks(BaseModel):
    """Of the API's checks, those that the admin shows."""

    model_config = ConfigDict(frozen=True)

    request_log: RequestLogCheck


class Health(BaseModel):
    """How the API finds itself: ``ok``, ``degraded`` or ``down``."""

    model_config = ConfigDict(frozen=True)

    status: str
    checks: Checks


Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Unavailable:
    """Why there is no answer, in a sentence for an operator."""

    reason: str


NOT_CONFIGURED: Final = Unavailable("The admin does not know the API: API_URL or API_TOKEN is not set.")
NO_ADDRESS: Final = Unavailable("The admin does not know the API: API_URL is not set.")


class _CallFailed(Exception):
    """The call has brought nothing; the text says why, to an operator."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


# The threads are what bounds the whole call: httpx bounds only its steps, and looking a host up not at all.
# When all of them wait for an API that hangs, further calls time out without a thread of their own.
_THREADS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="api-client")


def bucket(key_id: int) -> Bucket | Unavailable:
    """The bucket of a key now, within ``DEADLINE_SECONDS``."""
    if settings.API_URL is None or settings.API_TOKEN is None:
        return NOT_CONFIGURED
    bearer = {"Authorization": f"Bearer {settings.API_TOKEN.get_secret_value()}"}
    return _called(Bucket, f"{settings.API_URL}/api/keys/{key_id}/bucket", bearer)


def health() -> Health | Unavailable:
    """How the API is now, within ``DEADLINE_SECONDS``; one that is down says so, and is no failure."""
    if settings.API_URL is None:
        return NO_ADDRESS
    return _called(Health, f"{settings.API_URL}/health", {}, accepts=_HEALTH_STATUSES)


def _called(
    kind: type[Answer],
    url: str,
    headers: dict[str, str],
    *,
    accepts: frozenset[HTTPStatus] = frozenset({HTTPStatus.OK}),
) -> Answer | Unavailable:
    # Made before the time runs: the first one of a process reads all of the system's certificates.
    call = _THREADS.submit(_get, _client(), kind, url, headers, accepts)
    try:
        answer = call.result(timeout=DEADLINE_SECONDS)
    except TimeoutError:
        call.cancel()
        return _failed(Outcome.TIMED_OUT, f"The API does not answer within {DEADLINE_SECONDS} s.")
    except _CallFailed as exc:
        return _failed(exc.outcome, str(exc))
    _CALLS.labels(Outcome.ANSWERED).inc()
    return answer


def _get(
    client: httpx.Client,
    kind: type[Answer],
    url: str,
    headers: dict[str, str],
    accepts: frozenset[HTTPStatus],
) -> Answer:
    try:
        response = client.get(url, headers=headers)
    except httpx.TimeoutException:
        raise TimeoutError from None
    except httpx.HTTPError as exc:
        raise _CallFailed(Outcome.UNREACHABLE, f"The API does not answer: {exc}.") from exc
    match response.status_code:
        case status if status in accepts:
            try:
                return kind.model_validate_json(response.content)
            except ValidationError as exc:
                # Without what it has sent: whatever answers at this address need not be the API.
                fields = ", ".join(str(error["loc"][0]) if error["loc"] else "JSON" for error in exc.errors())
                raise _CallFailed(
                    Outcome.FAILED, f"What answers at API_URL is not this version of the API ({fields})."
                ) from None
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            raise _CallFailed(
                Outcome.REFUSED,
                f"The API refuses API_TOKEN ({response.status_code}): "
                "it must be a management token with the scope keys:read.",
            )
        case status:
            raise _CallFailed(Outcome.FAILED, f"The API answers {status} {response.reason_phrase}.")


@cache
def _client() -> httpx.Client:
    # Connections are not kept: calls are rare, and the API closes an idle one after seconds. No proxy of the
    # environment is meant for the private network.
    return httpx.Client(
        timeout=DEADLINE_SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    )


def _failed(outcome: Outcome, reason: str) -> Unavailable:
    _CALLS.labels(outcome).inc()
    log.warning("api_unavailable", outcome=outcome.value, reason=reason)
    return Unavailable(reason)
