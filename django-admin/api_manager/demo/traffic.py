"""What the clients of a demo site did, as lines for COPY; busy by day, and less so at weekends."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate
from math import cos, pi
from random import Random
from typing import Final

from .site import DAYS, Client

COLUMNS: Final = (
    "api_key_id",
    "endpoint",
    "status_code",
    "cost",
    "remaining",
    "count",
    "client_ip",
    "timestamp",
    "decision_id",
)
LINES: Final = 1_000
"""Lines handed over at a time."""

_WEEKEND: Final = 0.45
_FRIDAY: Final = 4
_PEAK_HOUR: Final = 14
_HOURS: Final = 24
_HOUR: Final = timedelta(hours=1)
_MICROSECONDS: Final = 1_000_000
_FLOOD_SHARE: Final = 0.1
"""Of a client's denials: records that count many."""
_REFUSED_SHARE: Final = 0.2
"""How often a revoked key still asks."""


def by_day(
    clients: Sequence[Client], random: Random, count: int, until: datetime, newest: int | None = None
) -> Iterator[tuple[date, Iterator[tuple[int, str]]]]:
    """The days, oldest first, and of each the lines in the order of time, with the number of lines in them.

    ``count`` lines in all, or of these only so many as ``newest`` says. The keys must be saved.
    """
    left_out = 0 if newest is None else count - newest
    today = until.date()
    hours = [
        datetime.combine(today, time(), UTC) + timedelta(hours=number)
        for number in range(-_HOURS * (DAYS - 1), until.hour + 1)
    ]
    sums = [*accumulate(_weight(hour, until) for hour in hours)]
    ends = [max(0, round(count * so_far / sums[-1]) - left_out) for so_far in sums]
    lines = {hour: end - begin for hour, begin, end in zip(hours, [0, *ends], ends, strict=False)}
    for number in reversed(range(DAYS)):
        day = today - timedelta(days=number)
        yield day, _day(clients, random, day, {h: n for h, n in lines.items() if h.date() == day}, until)


def _weight(hour: datetime, until: datetime) -> float:
    """How much happens in an hour; of the present one only what is over counts."""
    daily = 1 + 0.7 * cos(2 * pi * (hour.hour - _PEAK_HOUR) / _HOURS)
    weekly = _WEEKEND if hour.weekday() > _FRIDAY else 1.0
    return daily * weekly * min(1.0, (until - hour) / _HOUR)


def _day(
    clients: Sequence[Client], random: Random, day: date, lines: dict[datetime, int], until: datetime
) -> Iterator[tuple[int, str]]:
    behaviours = []
    weights = []
    for client in clients:
        if client.first <= day <= client.last:
            behaviours.append(_Behaviour(client, day, random))
            is_refused = behaviours[-1].is_refused
            weights.append(client.weight * (_REFUSED_SHARE if is_refused else 1.0))
    cumulated = [*accumulate(weights)]
    decision_id = random.getrandbits(61)
    written: list[str] = []
    for hour, count in lines.items():
        width = min(_HOUR, until - hour) / timedelta(microseconds=1)
        moments = sorted(random.random() for _ in range(count))
        prefix = f"{hour:%Y-%m-%d %H}:"
        chosen = random.choices(behaviours, cum_weights=cumulated, k=count) if count else []
        for behaviour, moment in zip(chosen, moments, strict=True):
            seconds, microseconds = divmod(int(moment * width), _MICROSECONDS)
            minutes, seconds = divmod(seconds, 60)
            decision_id += 1
            written.append(
                f"{behaviour.answer()}\t{prefix}{minutes:02d}:{seconds:02d}.{microseconds:06d}Z\t{decision_id}\n"
            )
            if len(written) == LINES:
                yield LINES, "".join(written)
                written.clear()
    if written:
        yield len(written), "".join(written)


class _Behaviour:
    """How a client is answered on a day."""

    __slots__ = (
        "_addresses",
        "_allowed",
        "_client",
        "_denied",
        "_leaks",
        "_random",
        "_refused",
        "is_refused",
    )

    def __init__(self, client: Client, day: date, random: Random) -> None:
        number = client.key.pk
        self.is_refused = client.refused_from is not None and day >= client.refused_from
        self._client = client
        self._random = random
        self._leaks = client.leaked_from is not None and day >= client.leaked_from
        self._addresses = client.addresses
        # The first endpoint twice as often as the second, and so on.
        places = [place for n, place in enumerate(client.endpoints, 1) for _ in range(8 // n + 1)]
        self._allowed = [f"{number}\t{endpoint}\t200\t{cost}\t" for endpoint, cost in places]
        self._denied = [f"{number}\t{endpoint}\t429\t{cost}\t0\t" for endpoint, cost in places]
        self._refused = f"{number}\t/api/request\t403\t1\t\\N\t1\t"

    def answer(self) -> str:
        """A line, up to the client's address."""
        random = self._random.random
        address = self._anywhere() if self._leaks else self._addresses[int(random() * len(self._addresses))]
        if self.is_refused:
            return f"{self._refused}{address}"
        draw = random()
        if draw >= self._client.limited:
            return f"{self._allowed[int(random() * len(self._allowed))]}{int(random() * 90)}\t1\t{address}"
        floods = draw < self._client.limited * _FLOOD_SHARE
        count = 2 + int(random() * 40) if floods else 1
        return f"{self._denied[int(random() * len(self._denied))]}{count}\t{address}"

    def _anywhere(self) -> str:
        number = self._random.getrandbits(17)
        return f"198.{18 + (number >> 16)}.{(number >> 8) & 255}.{number & 255}"
