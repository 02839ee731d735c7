"""The record of one decision, as bytes in the stream and as a row of the request log."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count as numbers_from
from secrets import randbits
from typing import Final, NamedTuple

from ratelimiter import addresses
from ratelimiter.bounds import MAX_BURST

ENDPOINT_MAX_LENGTH: Final = 200

SCRIPT_MAX: Final = 2**53
"""Where the script's numbers end."""

_TICKS_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_TICKS_PER_MICROSECOND: Final = 16
_MAX_BIGINT: Final = 2**63 - 1
_MAX_INTEGER: Final = 2**31 - 1
_NO_ADDRESS: Final = "-"
_MARK: Final = re.compile(rb" (?=[+~])")
_LIMIT: Final = re.compile(rb"[+~][a-z][a-z0-9_]{0,30}")
_ids = numbers_from(randbits(62))
"""Each process counts from a number of its own: that two of them meet in 2^63 does not happen."""


class MalformedRecord(ValueError):
    """The bytes are no record; the text says why."""


class Record(NamedTuple):
    """One row of the request log.

    ``violated`` names the limits of a plan that had no room, a shadow with a ``~`` before it.
    ``remaining`` is ``None`` when the key was refused. ``count`` is how many denied requests the row
    stands for; cost, remaining and address are the last one's. ``may_be_double``: the same decision may
    have been recorded before, by a call to Redis whose reply was lost; ``decision_id`` tells.
    """

    api_key_id: int
    endpoint: str
    status_code: int
    cost: int
    remaining: int | None
    client_ip: str | None
    timestamp: datetime
    count: int = 1  # type: ignore[assignment]  # the column's name, and nobody misses tuple.count
    decision_id: int | None = None
    may_be_double: bool = False
    violated: tuple[str, ...] = ()


def encode(api_key_id: int, cost: int, client_ip: str | None, endpoint: str) -> bytes:
    """What is known of a decision before it is made, its id among it; the script adds the outcome.

    The id stands where an address may have a zone: a drain of the version before takes the record for one
    without an address, and does not set it aside.
    """
    address = addresses.clean(client_ip) or _NO_ADDRESS
    return f"{api_key_id} {cost} {address}%{next(_ids):x} {endpoint}".encode()


def decode(known: bytes, outcome: bytes, timestamp: datetime) -> Record:
    """The record of a pair in the stream.

    An outcome is ``200 <remaining>``, ``429 <remaining>``, ``429 <remaining> <count>`` or ``403``. Behind it
    stand the limits that had no room, if it was a plan: `` +<name>`` of one that denied, `` ~<name>`` of a
    shadow. Where `` @<ticks>`` follows, that is the record's time, and not the stream's.

    Raises:
        MalformedRecord: the pair was not written by ``encode`` and the script, or would not fit
            the table.

    """
    is_timed = b"@" in outcome
    try:
        key, spent, marked, text = known.split(b" ", 3)
        address, _, digits = marked.partition(b"%")
        decision_id = _id(digits) if digits else None  # none before decisions had ids
        if is_timed:
            outcome, _, ticks = outcome.partition(b" @")
            timestamp = time_of(ticks)
        api_key_id, endpoint, cost, client_ip = _decode_known(key, spent, address, text)
        status_code, remaining, count, violated = _decode_outcome(outcome)
    except ValueError as exc:
        raise MalformedRecord(f"{exc}") from exc
    return Record(
        api_key_id,
        endpoint,
        status_code,
        cost,
        remaining,
        client_ip,
        timestamp,
        count,
        decision_id,
        is_timed and decision_id is not None,  # without an id there is nothing to know a double by
        violated,
    )


def time_of(ticks: bytes) -> datetime:
    """The time that decimal digits write in the limiter's ticks.

    Raises:
        ValueError: they do not, or it is later than the script can tell.

    """
    return _TICKS_EPOCH + timedelta(microseconds=number(ticks, most=SCRIPT_MAX) // _TICKS_PER_MICROSECOND)


def _id(digits: bytes) -> int:
    if not digits.isalnum():
        raise ValueError(f"{digits!r} is no id")
    return number(b"%d" % int(digits, 16))


# Clients repeat themselves: most halves of a pair were seen a moment ago.
@lru_cache(maxsize=8192)
def _decode_known(
    api_key_id: bytes, cost: bytes, client_ip: bytes, endpoint: bytes
) -> tuple[int, str, int, str | None]:
    text = endpoint.decode()
    if len(text) > ENDPOINT_MAX_LENGTH or "\0" in text:
        raise ValueError("the endpoint does not fit its column")
    # No bucket admits a higher cost, and the sums of usage would end somewhere.
    spent = number(cost, least=1, most=MAX_BURST)
    return number(api_key_id), text, spent, addresses.clean(client_ip.decode())


@lru_cache(maxsize=8192)
def _decode_outcome(outcome: bytes) -> tuple[int, int | None, int, tuple[str, ...]]:
    known, *marked = _MARK.split(outcome)
    violated = tuple(_name(mark) for mark in marked)
    match known.split(b" "):
        case [b"403"] if not violated:
            return 403, None, 1, ()
        case [b"200", remaining] if all(name.startswith("~") for name in violated):
            return 200, number(remaining), 1, violated
        case [b"429", remaining]:
            return 429, number(remaining), 1, violated
        case [b"429", remaining, count]:
            return 429, number(remaining), number(count, least=1, most=_MAX_INTEGER), violated
    raise ValueError(f"{outcome!r} is no outcome")


def _name(mark: bytes) -> str:
    """A limit's name as the log has it, from ``+<name>`` or ``~<name>``."""
    if not _LIMIT.fullmatch(mark):
        raise ValueError(f"{mark!r} names no limit")
    return mark.decode().removeprefix("+")


def number(digits: bytes, *, least: int = 0, most: int = _MAX_BIGINT) -> int:
    """The number that decimal digits write.

    Raises:
        ValueError: they do not, or it is out of range.

    """
    if not digits.isdigit() or not least <= (value := int(digits)) <= most:
        raise ValueError(f"{digits!r} is no number, or out of range")
    return value
