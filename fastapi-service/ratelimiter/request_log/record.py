"""The record of one decision, as bytes in the stream and as a row of the request log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ratelimiter import addresses

ENDPOINT_MAX_LENGTH: Final = 200

_MAX_BIGINT: Final = 2**63 - 1
_NO_ADDRESS: Final = "-"


class MalformedRecord(ValueError):
    """The bytes are no record; the text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the request log; ``remaining`` is ``None`` when the key was refused."""

    api_key_id: int
    endpoint: str
    status_code: int
    cost: int
    remaining: int | None
    client_ip: str | None
    timestamp: datetime


def encode(api_key_id: int, cost: int, client_ip: str | None, endpoint: str) -> bytes:
    """What is known of a decision before it is made; the script adds the outcome."""
    return f"{api_key_id} {cost} {addresses.clean(client_ip) or _NO_ADDRESS} {endpoint}".encode()


def decode(known: bytes, outcome: bytes, timestamp: datetime) -> Record:
    """The record of a pair in the stream.

    Raises:
        MalformedRecord: the pair was not written by ``encode`` and the script, or would not fit
            the table.

    """
    try:
        api_key_id, cost, client_ip, endpoint = known.decode().split(" ", 3)
        status_code, *remaining = outcome.split(b" ", 1)
        record = Record(
            api_key_id=_number(api_key_id),
            endpoint=endpoint,
            status_code=_number(status_code),
            cost=_number(cost),
            remaining=_number(remaining[0]) if remaining else None,
            client_ip=addresses.clean(client_ip),
            timestamp=timestamp,
        )
    except ValueError as exc:
        raise MalformedRecord(f"{exc}") from exc
    if record.status_code not in {200, 403, 429} or record.cost < 1:
        raise MalformedRecord("status or cost out of range")
    if len(endpoint) > ENDPOINT_MAX_LENGTH or "\0" in endpoint:
        raise MalformedRecord("the endpoint does not fit its column")
    return record


def _number(digits: str | bytes) -> int:
    number = int(digits)
    if not 0 <= number <= _MAX_BIGINT:
        raise ValueError(f"{number} is out of range")
    return number
