"""Fields of the API's bodies: what they take, and how they are written."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

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
Flag = Annotated[bool, Field(strict=True)]
Exempt = Annotated[Flag, Field(description="No tier rule moves, pauses or tells of the key.")]
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


class Body(BaseModel):
    """A request's body: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")
