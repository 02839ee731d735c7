"""Reads keys for the directory. It blocks, so it runs in threads."""

import json
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    Row,
    ScalarSelect,
    Select,
    SQLColumnExpression,
    Text,
    any_,
    bindparam,
    cast,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from ratelimiter.models import APIKey, ForeignFormat, KeyLimit, Tier, TierLimit

from . import cidrs
from .foreign import Format
from .record import KeyRecord, LimitRecord


class KeyStore:
    """Finds keys in PostgreSQL.

    Raises ``sqlalchemy.exc.SQLAlchemyError`` when PostgreSQL does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, digests: Iterable[bytes]) -> list[KeyRecord]:
        """The keys with these digests, in no order; a digest that is nobody's has none."""
        with self._engine.connect() as connection:
            connection.execute(_WITHOUT_JIT)
            return _read(connection, _BY_DIGEST, list(digests))

    def find_all(self, ids: Iterable[int]) -> list[KeyRecord]:
        """The keys with these ids, in no order."""
        with self._engine.connect() as connection:
            connection.execute(_WITHOUT_JIT)
            return _read(connection, _BY_ID, list(ids))

    def foreign_formats(self) -> list[Format]:
        """What the keys of other systems look like that were imported."""
        with self._engine.connect() as connection:
            return [Format(**row) for row in connection.execute(_FOREIGN_FORMATS).mappings()]

    def edited_since(self, when: datetime | None) -> tuple[datetime, list[int]]:
        """PostgreSQL's time, and the ids of the keys that were edited since a time (``None``: not asked)."""
        with self._engine.connect() as connection:
            now = connection.execute(select(func.statement_timestamp())).scalar_one()
            if when is None:
                return now, []
            return now, list(connection.scalars(select(APIKey.id).where(APIKey.updated_at >= when)))


def _with_chain(condition: ColumnElement[bool]) -> Select[Any]:
    """Keys, each with the root of its chain of rotations and the limits of the chain's newest key.

    ``chain`` begins at each key and grows by a key at both ends until there is none older or newer.
    UNION, not UNION ALL: should SQL have made a ring, its keys are not found, rather than sought for ever.
    """
    seed = select(
        APIKey.id.label("key_id"),
        APIKey.id.label("root"),
        APIKey.id.label("newest"),
        APIKey.replaces_id.label("older"),
        _replacement_of(APIKey.id).label("newer"),
    ).where(condition)
    chain = seed.cte("chain", recursive=True)
    chain = chain.union(
        select(
            chain.c.key_id,
            func.coalesce(chain.c.older, chain.c.root),
            func.coalesce(chain.c.newer, chain.c.newest),
            _replaced_by(chain.c.older),
            _replacement_of(chain.c.newer),
        ).where(chain.c.older.is_not(None) | chain.c.newer.is_not(None))
    )
    newest = aliased(APIKey)
    return (
        select(
            APIKey.id,
            APIKey.digest,
            chain.c.root.label("subject"),
            Tier.name.label("tier"),
            func.coalesce(newest.requests_per_hour, Tier.requests_per_hour).label("requests_per_hour"),
            func.coalesce(newest.burst, Tier.burst).label("burst"),
            _limits_of(newest).label("limits"),
            func.extract("epoch", func.greatest(newest.updated_at, Tier.updated_at)).label("limits_since"),
            Tier.fallback,
            APIKey.is_active,
            APIKey.revoked_at.is_not(None).label("is_revoked"),
            func.extract("epoch", APIKey.expires_at).label("expires_at"),
            APIKey.allowed_cidrs,
        )
        .join(chain, chain.c.key_id == APIKey.id)
        .join(newest, newest.id == chain.c.newest)
        .join(Tier, Tier.id == newest.tier_id)
        .where(chain.c.older.is_(None), chain.c.newer.is_(None))
    )


# Subqueries, because they are always looked up in an index. For a join PostgreSQL, which cannot know how
# short the chains are, reads the whole table once for each of their keys.
def _replaced_by(key_id: SQLColumnExpression[int]) -> ScalarSelect[int | None]:
    key = aliased(APIKey)
    return select(key.replaces_id).where(key.id == key_id).scalar_subquery()


def _replacement_of(key_id: SQLColumnExpression[int]) -> ScalarSelect[int]:
    key = aliased(APIKey)
    return select(key.id).where(key.replaces_id == key_id).scalar_subquery()


def _limits_of(key: type[APIKey]) -> ScalarSelect[str]:
    """The limits of the key's tier in their order, the key's own numbers laid over, as a JSON text."""
    limit = func.json_build_array(
        TierLimit.name,
        func.coalesce(KeyLimit.requests, TierLimit.requests),
        TierLimit.window_seconds,
        func.coalesce(KeyLimit.burst, TierLimit.burst),
        TierLimit.period,
        TierLimit.endpoint_prefix,
        TierLimit.is_shadow,
    )
    return (
        select(cast(func.json_agg(aggregate_order_by(limit, TierLimit.id)), Text))
        .select_from(TierLimit)
        .outerjoin(KeyLimit, (KeyLimit.api_key_id == key.id) & (KeyLimit.name == TierLimit.name))
        .where(TierLimit.tier_id == key.tier_id)
        .scalar_subquery()
    )


# Made once: to put one together costs as much as to run it.
_BY_DIGEST: Final = _with_chain(APIKey.digest == any_(bindparam("wanted", type_=ARRAY(LargeBinary))))
_FOREIGN_FORMATS: Final = select(
    ForeignFormat.prefix, ForeignFormat.min_length, ForeignFormat.max_length, ForeignFormat.alphabet
)
_BY_ID: Final = _with_chain(APIKey.id == any_(bindparam("wanted", type_=ARRAY(BigInteger))))

# PostgreSQL takes each chain for a hundred keys long, so for many keys it would compile, where it can: that
# takes 0.4 s, and the query itself 20 ms.
_WITHOUT_JIT: Final = text("SET LOCAL jit = off")


def _read(connection: Connection, query: Select[Any], wanted: object) -> list[KeyRecord]:
    return [_record(row) for row in connection.execute(query, {"wanted": wanted})]


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        digest=bytes(row.digest),
        subject=row.subject,
        tier=row.tier,
        requests_per_hour=row.requests_per_hour,
        burst=row.burst,
        limits=_limits(row.limits),
        limits_since=float(row.limits_since),
        fallback=row.fallback,
        is_active=row.is_active,
        is_revoked=row.is_revoked,
        expires_at=None if row.expires_at is None else float(row.expires_at),
        # By hand a network of IPv4-mapped addresses may have been stored: it means that of IPv4.
        allowed_cidrs=tuple(cidrs.unmapped(ip_network(text)) for text in row.allowed_cidrs),
    )


@lru_cache(maxsize=4096)
def _limits(text: str | None) -> tuple[LimitRecord, ...]:
    """The limits that a JSON text tells; the same ones each time, since thousands of keys share them."""
    return tuple(LimitRecord(*fields) for fields in json.loads(text or "[]"))
