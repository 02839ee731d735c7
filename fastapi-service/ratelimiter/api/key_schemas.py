"""The bodies of the management of keys, as OpenAPI shows them and as they are checked."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .examples import KEY_LIMITS
from .fields import Body, Burst, Cidrs, Email, Exempt, Flag, Moment, Name, Note, Rate, Reason, TierName
from .schemas import LimitLevel


class KeyCreate(Body):
    """A key to be issued."""

    name: Name
    tier: TierName = "free"
    owner_email: Email = ""
    requests_per_hour: Rate | None = Field(None, description="Overrides the tier's rate.")
    burst: Burst | None = Field(None, description="Overrides the tier's burst.")
    expires_at: Moment | None = None
    allowed_cidrs: Cidrs = Field([])
    note: Note = ""
    is_exempt: Exempt = False


_UNSET: Any = None
"""Stands where a field was not sent; it is told by ``exclude_unset``, never read."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


class OwnLimit(Body):
    """A key's own numbers for a further limit of its tier."""

    requests: Rate
    burst: Burst | None = Field(None, description="Of a bucket; null: the tier's.")


class KeyChange(Body):
    """The fields of a key to be changed; ``null`` takes an override or an end away."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    name: Name = _UNSET
    tier: TierName = _UNSET
    owner_email: Email = _UNSET
    is_active: Flag = _UNSET
    requests_per_hour: Rate | None = _UNSET
    burst: Burst | None = _UNSET
    limits: dict[str, OwnLimit | None] = Field(
        _UNSET,
        description="The key's own numbers for its tier's further limits, by name; null: the tier's again. "
        "What is not named stays.",
        examples=[{"monthly": {"requests": 5000}, "second": None}],
    )
    expires_at: Moment | None = _UNSET
    allowed_cidrs: Cidrs = _UNSET
    note: Note = _UNSET
    is_exempt: Exempt = _UNSET


class KeyRevocation(Body):
    """Why a key is revoked."""

    reason: Reason = Field("", description="For operators; kept with the key, and in the audit.")


class KeyRotation(Body):
    """How a key is to be rotated."""

    grace_seconds: Annotated[int, Field(strict=True, ge=0, le=90 * 86_400)] = Field(
        0, description="How long the old key goes on working."
    )


class Overrides(BaseModel):
    """The limits that are the key's own; ``null``: its tier's holds."""

    requests_per_hour: int | None
    burst: int | None


class FurtherLimit(BaseModel):
    """A limit beside a key's rate and burst, with the numbers in force: a bucket, or a quota."""

    name: str
    requests: int = Field(description="Tokens that come back in the window, or that a period has.")
    window_seconds: int | None = Field(description="Of a bucket; null: it is a quota.")
    burst: int | None = Field(description="Of a bucket: tokens a full one holds.")
    period: Literal["day", "month"] | None = Field(description="Of a quota, in UTC.")
    endpoint_prefix: str | None = Field(description="Holds for endpoints that begin with it; null: for all.")
    is_shadow: bool = Field(description="It is only tried, and denies nothing.")
    is_own: bool = Field(description="The numbers are the key's own, not its tier's.")


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
    limits: list[FurtherLimit] = Field(
        description="The further limits of its tier, with the key's own numbers.", examples=[KEY_LIMITS]
    )
    is_active: bool
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    allowed_cidrs: list[str] = Field(description="From where the key may be used; empty: from anywhere.")
    note: str
    is_exempt: Exempt
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
