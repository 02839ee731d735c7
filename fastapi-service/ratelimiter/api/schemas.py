"""The bodies of the API but for those about keys, as OpenAPI shows them and as they are checked."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ratelimiter.bounds import MAX_BURST
from ratelimiter.request_log.record import ENDPOINT_MAX_LENGTH

from .fields import Body, WithoutKey


class DecisionRequest(Body):
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
