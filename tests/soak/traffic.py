"""The mixed load: keys that admit, that deny, that are flooded; costs, endpoints, looks, and garbage."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from ratelimiter.keys import credentials
from tests.faults.load import Load, Request
from tests.faults.rig import Key, Rig

ENDPOINTS: Final = ("/v1/orders", "/v1/users", "/v1/search")
CHECK_PATH: Final = "/api/check"
EDITED_BURSTS: Final = (20, 40)
"""Between which an operator changes the edited key's."""

MIX: Final = {
    "roomy": 50,
    "without a body": 5,
    "tight": 20,
    "flooded": 2,
    "edited": 10,
    "looked at": 8,
    "unknown": 2,
    "malformed": 3,
}
"""How often each kind comes, of a hundred times."""
FLOOD: Final = 40
"""Requests of a flood, one right after the other: more denials a second than have a row each."""
MOST_UNDER_WAY: Final = 50
"""Requests that wait for their answers at a time."""


@dataclass(frozen=True)
class Keys:
    """The keys of the load: those that are never denied, those that often are, and one of each other kind."""

    roomy: list[Key]
    tight: list[Key]
    flooded: Key
    edited: Key

    @classmethod
    def issue(cls, rig: Rig) -> "Keys":
        """Make them."""
        [flooded] = rig.issue(1, per_second=1, burst=10)
        [edited] = rig.issue(1, per_second=2, burst=EDITED_BURSTS[0])
        return cls(
            roomy=rig.issue(8, per_second=10_000, burst=1_000_000),
            tight=rig.issue(4, per_second=1, burst=10),
            flooded=flooded,
            edited=edited,
        )

    @property
    def all(self) -> list[Key]:
        """Each of them."""
        return [*self.roomy, *self.tight, self.flooded, self.edited]


class MixedLoad(Load):
    """Asks for all kinds of things; what is spent carries the stage in its endpoint, and so in its row."""

    def __init__(self, url: str, keys: Keys, per_second: float, random: Random) -> None:
        super().__init__(url, [], per_second)
        self.stage = 0
        """Counts the faults and the rests: what the log lacks can be told by it."""
        self._cast = keys
        self._random = random

    def requests(self) -> Iterator[Request]:
        """What is asked, without end."""
        kinds, weights = list(MIX), list(MIX.values())
        while True:
            [kind] = self._random.choices(kinds, weights)
            for _ in range(FLOOD if kind == "flooded" else 1):
                yield self._request(kind)

    async def next_due(self, due: float) -> float:
        """Wait for the next one's time. A busy machine is asked less rather than late: no time is judged."""
        await super().next_due(due)
        while self.planned - len(self.answers) >= MOST_UNDER_WAY:  # noqa: ASYNC110  # counted, not told
            await asyncio.sleep(0.01)
        return time.monotonic()

    def endpoint(self, name: str) -> str:
        """An endpoint of this stage."""
        return f"{name}/{self.stage}"

    def _request(self, kind: str) -> Request:
        pick, keys = self._random.choice, self._cast
        match kind:
            case "roomy":
                key, cost = pick(keys.roomy), self._random.randint(1, 5)
            case "tight":
                key, cost = pick(keys.tight), self._random.randint(1, 2)
            case "edited":
                key, cost = keys.edited, 1
            case _:
                return self._without_choice(kind)
        return Request(key.secret, self.endpoint(pick(ENDPOINTS)), cost)

    def _without_choice(self, kind: str) -> Request:
        pick, keys = self._random.choice, self._cast
        match kind:
            case "without a body":
                return Request(pick(keys.roomy).secret)
            case "flooded":
                return Request(keys.flooded.secret, self.endpoint(ENDPOINTS[0]))
            case "looked at":
                return Request(pick(keys.all).secret, method="GET", path=CHECK_PATH)
            case "unknown":
                return Request(credentials.generate())
            case _:
                return Request(f"no-key-{self._random.randrange(1000)}")
