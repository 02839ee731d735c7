"""The keys of a demo site, and how those who hold them behave."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any, Final

from api_manager.models import APIKey, Tier

DAYS: Final = 30
"""How far the traffic goes back, today included."""
LEAST_KEYS: Final = 20
"""Fewer would not show every kind."""

_ZIPF_EXPONENT: Final = 1.05
_OWNERS_SHARE: Final = 3
"""Keys of an owner, on average."""
_TIER_BOUNDS: Final = (0.02, 0.10, 0.30)
"""Up to which rank, as a share of all keys, the highest tier goes, and the next ones."""
_LIMITED_SHARE: Final = 0.06
_KINDS: Final = {
    "steady": 79,
    "new": 4,
    "idle": 5,
    "never": 3,
    "revoked": 2,
    "expired": 2,
    "expiring": 2,
    "paused": 1,
    "rotated": 2,
}
"""What becomes of a key, and how often of a hundred."""
_HINT_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FIRST_NAMES: Final = (
    "ada",
    "alan",
    "barbara",
    "dennis",
    "edsger",
    "grace",
    "hedy",
    "ken",
    "margaret",
    "radia",
)
_COMPANIES: Final = ("acme", "globex", "hooli", "initech", "stark", "tyrell", "umbrella", "wayne", "wonka")
_PROGRAMS: Final = (
    "billing",
    "checkout",
    "crawler",
    "dashboard",
    "etl",
    "mobile",
    "partner",
    "search",
    "sync",
)
_STAGES: Final = ("prod", "staging", "eu", "us", "batch")
_RESOURCES: Final = (
    "orders",
    "users",
    "products",
    "invoices",
    "payments",
    "search",
    "events",
    "files",
    "teams",
)
_ENDPOINTS: Final = (
    *((f"/v1/{resource}", 1) for resource in _RESOURCES),
    *((f"/v1/{resource}/batch", 5) for resource in _RESOURCES),
    *((f"/v2/{resource}", 1) for resource in _RESOURCES),
    ("/v1/reports/export", 20),
    ("/v1/health", 1),
    ("/graphql", 2),
)
"""Endpoints, and what a request there costs: fewer than the cap of the roll-ups."""


@dataclass(frozen=True)
class Client:
    """A key and how it is used: on the days from ``first`` to ``last``, in proportion to ``weight``.

    ``limited``: the part of its requests that are. From ``refused_from`` on all are answered 403, from
    ``leaked_from`` on they come from anywhere.
    """

    key: APIKey
    weight: float
    first: date
    last: date
    endpoints: Sequence[tuple[str, int]]
    addresses: Sequence[str]
    limited: float = 0.0
    refused_from: date | None = None
    leaked_from: date | None = None


def make(random: Random, count: int, tiers: Sequence[Tier], until: datetime) -> list[Client]:
    """So many keys, unsaved, the busiest first; ``tiers`` from the lowest on. A busy one has leaked.

    A rotated key comes before the one that replaces it.
    """
    kinds = [*_KINDS, *random.choices([*_KINDS], [*_KINDS.values()], k=count)]
    owners = [
        f"{random.choice(_FIRST_NAMES)}.{number}@{random.choice(_COMPANIES)}.example"
        for number in range(1, count // _OWNERS_SHARE + 2)
    ]
    # Each kind once among the first, then by chance; which of them is how busy is chance, too.
    ranks = random.sample(range(1, count + 1), count)
    clients: list[Client] = []
    while len(clients) < count:
        rank = ranks[len(clients)]
        kind = kinds[len(clients)]
        if kind == "rotated" and len(clients) + 1 == count:
            kind = "steady"
        above = sum(rank / count > bound for bound in _TIER_BOUNDS)
        tier = tiers[-1 - min(above, len(tiers) - 1)]
        clients += _clients(random, kind, tier, random.choice(owners), rank**-_ZIPF_EXPONENT, until)
    clients.sort(key=lambda client: -client.weight)
    busy = next(
        number
        for number, client in enumerate(clients)
        if number >= count // 100 and _is_steady(client, until)
    )
    clients[busy] = _leaked(clients[busy], until)
    return clients


@dataclass(frozen=True)
class _Life:
    """When a key was issued and used, and the fields of the key that say what became of it."""

    created: date
    first: date
    last: date
    fields: dict[str, Any] = field(default_factory=dict)


def _clients(
    random: Random, kind: str, tier: Tier, owner: str, weight: float, until: datetime
) -> Iterator[Client]:
    """The client of a kind; of a rotated key both."""
    first = _client(random, _life(random, kind, until), tier, owner, weight)
    yield first
    if kind == "rotated":
        end = first.last
        life = _Life(
            end, end + timedelta(days=1), until.date(), {"name": first.key.name, "replaces": first.key}
        )
        yield _client(random, life, tier, owner, weight)


def _life(random: Random, kind: str, until: datetime) -> _Life:  # noqa: PLR0911  # one for each kind
    today = until.date()
    begin = today - timedelta(days=DAYS - 1)

    def some_day(earliest: int, latest: int) -> date:
        return today - timedelta(days=random.randint(latest, earliest))

    old = some_day(400, DAYS + 10)
    match kind:
        case "new":
            created = some_day(14, 1)
            return _Life(created, created + timedelta(days=1), today)
        case "idle":
            return _Life(old, begin, some_day(DAYS - 1, DAYS - 8))
        case "never":
            return _Life(old, today, begin)
        case "revoked":
            end = some_day(20, 4)
            # Whoever has it notices after some days.
            return _Life(old, begin, end + timedelta(days=3), {"revoked_at": _moment(end)})
        case "expired":
            end = some_day(20, 1)
            return _Life(old, begin, end - timedelta(days=1), {"expires_at": _moment(end)})
        case "expiring":
            return _Life(old, begin, today, {"expires_at": until + timedelta(hours=random.randint(12, 160))})
        case "paused":
            return _Life(old, begin, some_day(20, 2), {"is_active": False})
        case "rotated":
            end = some_day(20, 3)
            return _Life(old, begin, end, {"expires_at": _moment(end + timedelta(days=1))})
    return _Life(old, begin, today)


def _client(random: Random, life: _Life, tier: Tier, owner: str, weight: float) -> Client:
    name = f"{random.choice(_PROGRAMS)}-{random.choice(_STAGES)}-{random.randrange(100, 1000)}"
    key = APIKey(
        **{"name": name} | life.fields,
        owner_email=owner,
        hint="rlk_live_{}…{}".format(*("".join(random.choices(_HINT_LETTERS, k=4)) for _ in range(2))),
        digest=secrets.token_bytes(32),  # of no key: nobody has one
        tier=tier,
        created_at=_moment(life.created),
    )
    is_limited = random.random() < _LIMITED_SHARE
    return Client(
        key,
        weight,
        life.first,
        life.last,
        endpoints=random.sample(_ENDPOINTS, random.randint(2, 8)),
        addresses=_addresses(random),
        limited=random.uniform(0.2, 0.7) if is_limited else random.uniform(0, 0.005),
        refused_from=key.revoked_at.date() if key.revoked_at else None,
    )


def _is_steady(client: Client, until: datetime) -> bool:
    return client.key.expires_at is None and client.refused_from is None and client.last == until.date()


def _leaked(client: Client, until: datetime) -> Client:
    return replace(client, limited=0.4, leaked_from=until.date() - timedelta(days=2))


def _addresses(random: Random) -> list[str]:
    network = random.choice(("192.0.2", "198.51.100", "203.0.113"))
    own = [f"{network}.{random.randrange(1, 255)}" for _ in range(random.randint(1, 3))]
    return [*own, f"2001:db8:{random.randrange(1, 65536):x}::1"] if random.random() < 0.2 else own  # noqa: PLR2004


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
