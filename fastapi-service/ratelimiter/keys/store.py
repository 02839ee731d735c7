"""Reads keys for the directory. It blocks, so it runs in threads."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Engine,
    LargeBinary,
    Row,
    Select,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.orm import aliased

from ratelimiter.models import APIKey, Tier

from .record import KeyRecord


class KeyStore:
    """Finds keys in PostgreSQL.

    Raises ``sqlalchemy.exc.SQLAlchemyError`` when PostgreSQL does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, digest: bytes) -> KeyRecord | None:
        """The key with a digest."""
        found = self._select(_BY_DIGEST, digest)
        return found[0] if found else None

    def find_all(self, ids: Iterable[int]) -> list[KeyRecord]:
        """The keys with these ids, in no order."""
        return self._select(_BY_ID, list(ids))

    def _select(self, query: Select[Any], wanted: object) -> list[KeyRecord]:
        with self._engine.connect() as connection:
            return [_record(row) for row in connection.execute(query, {"wanted": wanted})]


def _with_subject(condition: ColumnElement[bool]) -> Select[Any]:
    """Keys with their tier and the root of their chain of rotations."""
    chain = (
        select(APIKey.id.label("key_id"), APIKey.id, APIKey.replaces_id)
        .where(condition)
        .cte("chain", recursive=True)
    )
    older = aliased(APIKey)
    chain = chain.union_all(
        select(chain.c.key_id, older.id, older.replaces_id).join(older, older.id == chain.c.replaces_id)
    )
    return (
        select(
            APIKey.id,
            APIKey.digest,
            chain.c.id.label("subject"),
            Tier.name.label("tier"),
            func.coalesce(APIKey.requests_per_hour, Tier.requests_per_hour).label("requests_per_hour"),
            func.coalesce(APIKey.burst, Tier.burst).label("burst"),
            APIKey.is_active,
            APIKey.revoked_at.is_not(None).label("is_revoked"),
            func.extract("epoch", APIKey.expires_at).label("expires_at"),
        )
        .join(chain, chain.c.key_id == APIKey.id)
        .join(Tier, Tier.id == APIKey.tier_id)
        .where(chain.c.replaces_id.is_(None))
    )


# Made once: to put one together costs as much as to run it.
_BY_DIGEST: Final = _with_subject(APIKey.digest == bindparam("wanted", type_=LargeBinary))
_BY_ID: Final = _with_subject(APIKey.id == any_(bindparam("wanted", type_=ARRAY(BigInteger))))


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        digest=bytes(row.digest),
        subject=row.subject,
        tier=row.tier,
        requests_per_hour=row.requests_per_hour,
        burst=row.burst,
        is_active=row.is_active,
        is_revoked=row.is_revoked,
        expires_at=None if row.expires_at is None else float(row.expires_at),
    )
