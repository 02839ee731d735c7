"""A key's chain of rotations: each key was issued to replace the one before it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from django.db import connection

from .models import APIKey

NEIGHBOURS: Final = 10
"""How many keys before and after one are shown of its chain."""

CHAINS: Final = """
WITH RECURSIVE chain (key_id, chain_id) AS (
    SELECT id, id FROM api_key WHERE replaces_id IS NULL
    UNION ALL
    SELECT key.id, chain.chain_id FROM api_key AS key JOIN chain ON key.replaces_id = chain.key_id
)"""
"""Every key, and the first of its chain."""

# A successor is always the younger row, so ids are the order; UNION ends a circle that somebody made by hand.
_CHAIN: Final = """
WITH RECURSIVE older (id, replaces_id) AS (
    SELECT id, replaces_id FROM api_key WHERE id = %(key)s
    UNION
    SELECT key.id, key.replaces_id FROM api_key AS key JOIN older ON key.id = older.replaces_id
), newer (id) AS (
    SELECT %(key)s::bigint
    UNION
    SELECT key.id FROM api_key AS key JOIN newer ON key.replaces_id = newer.id
)
SELECT id FROM older UNION SELECT id FROM newer ORDER BY id DESC
"""

_NEWEST: Final = """
WITH RECURSIVE chain (key_id, chain_id) AS (
    SELECT id, id FROM api_key WHERE id = ANY(%s)
    UNION
    SELECT key.id, chain.chain_id FROM api_key AS key JOIN chain ON key.replaces_id = chain.key_id
)
SELECT chain_id, max(key_id) FROM chain GROUP BY chain_id
"""


@dataclass(frozen=True)
class Chain:
    """The neighbours of a key and itself, the newest first, and the newest of the whole chain."""

    keys: list[APIKey]
    newest: APIKey
    left_out: int
    """Keys of the chain that are further away."""


def members(key: APIKey) -> list[int]:
    """The numbers of all keys of the chain that a key is part of, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, {"key": key.pk})
        return [key_id for (key_id,) in cursor.fetchall()]


def chain(key: APIKey) -> Chain:
    """The chain that a key is part of: of itself alone when it was never rotated."""
    ids = members(key)
    here = ids.index(key.pk)
    shown = ids[max(0, here - NEIGHBOURS) : here + NEIGHBOURS + 1]
    rows = APIKey.objects.select_related("tier").in_bulk({ids[0], *shown})
    return Chain([rows[key_id] for key_id in shown], rows[ids[0]], len(ids) - len(shown))


def newest(chain_ids: Collection[int]) -> dict[int, int]:
    """The number of the newest key of each chain, by that of its first."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, [list(chain_ids)])
        return dict(cursor.fetchall())
