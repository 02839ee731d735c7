"""The tokens of the management API, and what each of them opens.

The admin issues them; here they are looked up, at each call, so that a revocation holds at once.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal

from sqlalchemy import Engine, LargeBinary, bindparam, func, or_, select, update

from ratelimiter.models import ManagementToken

USE_NOTED_EVERY: Final = timedelta(minutes=1)

Refusal = Literal["revoked", "expired"]


class Scope(StrEnum):
    """What a token opens; the admin offers the same (a contract test compares)."""

    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    METRICS_READ = "metrics:read"


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A management token: what the audit calls its holder, what it opens, until when (Unix seconds)."""

    name: str
    scopes: frozenset[str]
    expires_at: float | None = None
    is_revoked: bool = False

    @property
    def actor(self) -> str:
        """What the audit calls whoever acts with it."""
        return f"api:{self.name}"

    def refusal(self, now: float) -> Refusal | None:
        """Why the token may not be used at a Unix time; ``None``: it may."""
        if self.is_revoked:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return None


BOOTSTRAP: Final = TokenRecord("token", frozenset(Scope))
"""The environment's token; no other may have its name."""


class TokenStore:
    """Finds tokens in PostgreSQL. It blocks.

    Raises ``sqlalchemy.exc.SQLAlchemyError`` when PostgreSQL does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, digest: bytes) -> TokenRecord | None:
        """The token with a digest, whatever its state; one that is good is noted as used."""
        with self._engine.begin() as connection:
            row = connection.execute(_BY_DIGEST, {"wanted": digest}).one_or_none()
            if row is None:
                return None
            expires_at = None if row.expires_at is None else float(row.expires_at)
            token = TokenRecord(row.name, frozenset(row.scopes), expires_at, row.is_revoked)
            if row.use_is_old and token.refusal(float(row.now)) is None:
                connection.execute(_NOTE_USE, {"wanted": row.id})
        return token


_now: Final = func.statement_timestamp()
_use_is_old: Final = or_(
    ManagementToken.last_used_at.is_(None), ManagementToken.last_used_at < _now - USE_NOTED_EVERY
)
_BY_DIGEST: Final = select(
    ManagementToken.id,
    ManagementToken.name,
    ManagementToken.scopes,
    func.extract("epoch", ManagementToken.expires_at).label("expires_at"),
    ManagementToken.revoked_at.is_not(None).label("is_revoked"),
    _use_is_old.label("use_is_old"),
    func.extract("epoch", _now).label("now"),
).where(ManagementToken.digest == bindparam("wanted", type_=LargeBinary))
# Whoever finds the row locked leaves the note to the one that holds it: nobody waits for it.
_NOTE_USE: Final = (
    update(ManagementToken)
    .where(
        ManagementToken.id.in_(
            select(ManagementToken.id)
            .where(ManagementToken.id == bindparam("wanted"), _use_is_old)
            .with_for_update(skip_locked=True)
        )
    )
    .values(last_used_at=_now)
    .execution_options(synchronize_session=False)
)
