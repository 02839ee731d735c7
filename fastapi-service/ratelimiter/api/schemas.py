"""The bodies of the API, as OpenAPI shows them and as they are checked."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    validate_email,
)

from ratelimiter.bounds import MAX_BURST, MAX_REQUESTS_PER_HOUR
from ratelimiter.keys import cidrs, credentials
from ratelimiter.request_log.record import ENDPOINT_MAX_LENGTH

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 8999
_DATE: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC, if it lies where every part of the platform can hold it."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise _no_moment() from None
    if not FIRST_YEAR <= utc.year <= LAST_YEAR:
        raise _no_moment()
    return utc


def _no_moment() -> ValueError:
    return ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")


def _written_out(value: object) -> object:
    """Refuse what pydantic would also take: seconds or milliseconds since 1970, as a number or as text."""
    if not isinstance(value, str) or not _DATE.match(value):
        raise ValueError("must be a date and time such as 2027-01-31T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


def _email_or_nothing(text: str) -> str:
    return validate_email(text)[1] if text else ""


def _without_key(text: str) -> str:
    if credentials.stands_in(text):
        raise ValueError("must not hold an API key, since it is stored and shown")
    return text


WithoutKey = AfterValidator(_without_key)
Rate = Annotated[int, Field(strict=True, ge=1, le=MAX_REQUESTS_PER_HOUR)]
Burst = Annotated[int, Field(strict=True, ge=1, le=MAX_BURST)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$"),
    WithoutKey,
]
Email = Annotated[
    str,
    AfterValidator(_email_or_nothing),
    WithoutKey,
    WithJsonSchema({"type": "string", "format": "email"}),
]
TierName = Annotated[str, StringConstraints(max_length=50)]


def _text(max_length: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, max_length=max_length, pattern=r"^[^\x00]*$")


Note = Annotated[
    str, _text(2000), WithoutKey, Field(description="For operators; the key's client never sees it.")
]
Reason = Annotated[str, _text(500), WithoutKey]


def _canonical(text: str) -> str:
    return str(cidrs.parse(text))


def _each_once(networks: list[str]) -> list[str]:
    return list(dict.fromkeys(networks))


Cidrs = Annotated[
    list[Annotated[str, AfterValidator(_canonical)]],
    Field(
        max_length=cidrs.MAX_CIDRS,
        description="From where the key may be used: networks, or single addresses; empty: from anywhere.",
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
    ),
    AfterValidator(_each_once),
]


class _Body(BaseModel):
    """A request's body: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")


class DecisionRequest(_Body):
    """What a caller is about to do."""

    endpoint: Annotated[
        str,
        StringConstraints(min_length=1, max_length=ENDPOINT_MAX_LENGTH, pattern=r"^[^\x00-\x1f\x7f]*$"),
        WithoutKey,
    ] = Field(
        "/api/request", description="What the request is for; logged and counted.", examples=["/v1/orders"]
    )
    cost: Annotated[int, Field(strict=True, ge=1, le=MAX_BURST)] = Field(1, description="Tokens it spends.")


class LimitLevel(BaseModel):
    """What one limit of a plan holds."""

    name: str = Field(description="`default` is the tier's bucket.")
    limit: int = Field(description="Tokens a full bucket holds, or a period has.")
    remaining: int = Field(description="Whole tokens left.")
    reset_after_seconds: int = Field(
        description="Seconds until the bucket is full again, or the period ends."
    )


class DecisionAnswer(BaseModel):
    """Whether the request goes on, and what is left after: of a plan, by the limit that holds the least."""

    allowed: bool
    tier: str
    limit: int = Field(description="The burst: tokens a full bucket holds; of a quota, those of its period.")
    remaining: int = Field(description="Whole tokens left.")
    reset_after_seconds: int = Field(description="Seconds until the bucket is full again.")
    limits: list[LimitLevel] | None = Field(
        None, description="Of a plan: all limits that hold for the endpoint and can deny."
    )


class KeyCreate(_Body):
    """A key to be issued."""

    name: Name
    tier: TierName = "free"
    owner_email: Email = ""
    requests_per_hour: Rate | None = Field(None, description="Overrides the tier's rate.")
    burst: Burst | None = Field(None, description="Overrides the tier's burst.")
    expires_at: Moment | None = None
    allowed_cidrs: Cidrs = []
    note: Note = ""


_UNSET: Any = None
"""Stands where a field was not sent; it is told by ``exclude_unset``, never read."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class KeyChange(_Body):
    """The fields of a key to be changed; ``null`` takes an override or an end away."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = _UNSET
    tier: TierName = _UNSET
    owner_email: Email = _UNSET
    is_active: Annotated[bool, Field(strict=True)] = _UNSET
    requests_per_hour: Rate | None = _UNSET
    burst: Burst | None = _UNSET
    expires_at: Moment | None = _UNSET
    allowed_cidrs: Cidrs = _UNSET
    note: Note = _UNSET


class KeyRevocation(_Body):
    """Why a key is revoked."""

    reason: Reason = Field("", description="For operators; kept with the key, and in the audit.")


class KeyRotation(_Body):
    """How a key is to be rotated."""

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=90 * 86_400)] = Field(
        0, description="How long the old key goes on working."
    )


class Overrides(BaseModel):
    """The limits that are the key's own; ``null``: its tier's holds."""

    requests_per_hour: int | None
    burst: int | None


class KeyAnswer(BaseModel):
    """A key, without its secret."""

    id: int
    name: str
    hint: str = Field(description="What of the key may be shown.")
    tier: str
    owner_email: str
    requests_per_hour: int = Field(description="The rate in force: the key's own, else its tier's.")
    burst: int = Field(description="The burst in force: the key's own, else its tier's, else the rate.")
    overrides: Overrides
    is_active: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    allowed_cidrs: list[str] = Field(description="From where the key may be used; empty: from anywhere.")
    note: str
    revoked_at: datetime | None
    revoked_reason: str
    replaces: int | None = Field(description="The key that this one was rotated from.")


class IssuedKey(KeyAnswer):
    """A new key with its secret, which is never shown again."""

    key: str


class KeyPage(BaseModel):
    """Some of the keys, newest first."""

    items: list[KeyAnswer]
    next_cursor: int | None = Field(description="Ask with cursor=… for what follows; null: that was all.")


class BucketLimit(LimitLevel):
    """What one limit of a key's plan holds, whatever the endpoint."""

    endpoint_prefix: str | None = Field(description="Holds for endpoints that begin with it; null: for all.")
    is_shadow: bool = Field(description="It is only tried, and denies nothing.")


class BucketAnswer(BaseModel):
    """What a key's bucket holds now; keys that were rotated share one, with the newest key's limits."""

    limit: int = Field(description="The burst: tokens a full bucket holds.")
    remaining: int = Field(description="Whole tokens left.")
    full_at: datetime | None = Field(description="When it is full again, UTC; null: it is.")
    full_in_seconds: int = Field(description="Seconds until then, rounded up; 0: it is full.")
    as_of: datetime = Field(description="Now, by Redis's clock, UTC.")
    limits: list[BucketLimit] = Field(
        description="The bucket as `default`, and all further limits of the plan."
    )


class UsageHour(BaseModel):
    """What a key did at an endpoint within an hour."""

    hour: datetime
    endpoint: str
    allowed: int
    limited: int
    cost: int


class UsageAnswer(BaseModel):
    """The caller's own usage in a range of time."""

    start: datetime
    end: datetime
    items: list[UsageHour]


class Check(BaseModel):
    """The state of one dependency; a log that lags stays behind by over 30 s."""

    status: Literal["ok", "lagging", "down"]
    latency_ms: float | None = None
    backlog: int | None = Field(None, description="Records that wait to be copied into PostgreSQL.")
    lag_seconds: float | None = Field(None, description="How long the oldest of them has waited.")


class HealthAnswer(BaseModel):
    """Whether the service can decide (ok, degraded) or not (down)."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[Literal["redis", "postgres", "request_log"], Check]


class Live(BaseModel):
    """The process runs."""

    status: Literal["ok"] = "ok"


class FieldError(BaseModel):
    """A field that is wrong, and what was expected."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="What kind of problem; stable.")
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = Field(None, description="With 422: the fields that are wrong.")


def field_errors(errors: list[Any]) -> list[dict[str, str]]:
    """Pydantic's errors as ``{"field", "message"}``; the place ``body`` or ``query`` is left out."""
    fields = []
    for error in errors:
        path = [str(part) for part in error["loc"] if part not in {"body", "query", "path"}]
        message = error["msg"].removeprefix("Value error, ")  # pydantic's word before one of ours
        fields.append({"field": ".".join(path) or "body", "message": message})
    return fields
