"""What the management API does to keys: issue, list, change, revoke, rotate. It blocks.

Every change and its ``AuditEvent`` are one transaction; the trigger announces it to the workers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session, joinedload, selectinload

from ratelimiter.bounds import MAX_REFILL_HOURS
from ratelimiter.errors import Conflict, InvalidInput, NotFound
from ratelimiter.models import APIKey, AuditEvent, Tier

from . import credentials, own_limits
from .news import CHANNEL
from .record import KeyRecord
from .store import KeyStore

FIELDS: Final = (
    "name",
    "owner_email",
    "tier",
    "requests_per_hour",
    "burst",
    "is_active",
    "expires_at",
    "allowed_cidrs",
    "note",
    "is_exempt",
)
"""What is said of a key; the rest follows from what is done with it."""

_WITH_LIMITS: Final = (
    joinedload(APIKey.tier, innerjoin=True).selectinload(Tier.limits),
    selectinload(APIKey.limits),
)
"""What is read of each key with it: its tier, that one's limits, and the key's own; of a page at once."""

_SHOWN_ONCE: Final = {"secret": "shown once"}
"""What the audit says of whoever was shown a key: the answer to what he asked for held it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks for a change, for the audit: actor, address, and the request's id."""

    actor: str
    client_ip: str | None
    request_id: str


class KeyManager:
    """The management operations on keys.

    Raises ``NotFound`` for an unknown id, ``InvalidInput`` naming the field that is wrong,
    ``Conflict`` where the key's state forbids it, ``SQLAlchemyError`` when PostgreSQL is away.
    """

    def __init__(self, engine: Engine, *, environment: str) -> None:
        self._engine = engine
        self._environment = environment

    def issue(self, fields: Mapping[str, Any], origin: Origin) -> tuple[APIKey, str]:
        """Make a key; returns it and its secret, which is not kept."""
        with self._session() as session:
            key = APIKey(**{**fields, "tier": _tier(session, fields["tier"])})
            _check(key, fields)
            secret = self._store_new(session, key, self._environment)
            _audit(session, "created", key.id, _values(key) | {"hint": key.hint} | _SHOWN_ONCE, origin)
            session.commit()
            return self._load(session, key.id), secret

    def page(self, before: int | None, size: int) -> tuple[list[APIKey], int | None]:
        """Keys, newest first: at most ``size`` with an id below ``before``, and what to go on before."""
        query = select(APIKey).options(*_WITH_LIMITS).order_by(APIKey.id.desc()).limit(size + 1)
        if before is not None:
            query = query.where(APIKey.id < before)
        with self._session() as session:
            keys = list(session.scalars(query))
        return keys[:size], keys[size - 1].id if len(keys) > size else None

    def get(self, key_id: int) -> APIKey:
        """One key."""
        with self._session() as session:
            return self._load(session, key_id)

    def change(self, key_id: int, fields: Mapping[str, Any], origin: Origin) -> APIKey:
        """Set the given fields of a key that is not revoked; of its ``limits`` those that are named."""
        with self._session() as session:
            key = self._load(session, key_id, lock=True)
            if key.revoked_at is not None:
                raise Conflict("The key is revoked, which is final.")
            before, limits = _values(key), own_limits.values(key)
            for name, value in fields.items():
                if name != "limits":
                    setattr(key, name, _tier(session, value) if name == "tier" else value)
            own_limits.override(key, fields.get("limits", {}))
            after = _values(key)
            changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
            changed |= own_limits.changes(limits, own_limits.values(key))
            if changed:
                _check(key, changed)
                _audit(session, _action(changed), key_id, {"changed": changed}, origin)
            session.commit()
            return self._load(session, key_id)

    def revoke(self, key_id: int, origin: Origin, reason: str = "") -> APIKey:
        """Revoke a key for good; revoking it again changes nothing, not even the reason."""
        with self._session() as session:
            key = self._load(session, key_id, lock=True)
            if key.revoked_at is None:
                key.revoked_at = datetime.now(UTC)
                key.revoked_reason = reason
                detail = {"hint": key.hint} | ({"reason": reason} if reason else {})
                _audit(session, "revoked", key_id, detail, origin)
            session.commit()
            return self._load(session, key_id)

    def rotate(self, key_id: int, grace: timedelta, origin: Origin) -> tuple[APIKey, str]:
        """Replace a key's secret; the old one works until the grace ends, on the same bucket and limits."""
        with self._session() as session:
            old = self._load(session, key_id, lock=True)
            now = datetime.now(UTC)
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise Conflict("A revoked or expired key cannot be rotated.")
            if session.scalar(select(APIKey.id).where(APIKey.replaces_id == key_id)) is not None:
                raise Conflict("The key has been rotated already; rotate the one that replaced it.")
            new = APIKey(**{name: getattr(old, name) for name in FIELDS}, replaces_id=old.id)
            # The successor of an imported key is one of ours.
            secret = self._store_new(session, new, credentials.environment(old.hint) or self._environment)
            old.expires_at = min(now + grace, old.expires_at or datetime.max.replace(tzinfo=UTC))
            chain = {"replaces": old.id, "replaces_hint": old.hint}
            _audit(
                session, "created", new.id, _values(new) | {"hint": new.hint} | chain | _SHOWN_ONCE, origin
            )
            detail = {
                "replaced_by": new.id,
                "grace_seconds": int(grace.total_seconds()),
                "expires_at": _plain(old.expires_at),
            }
            _audit(session, "rotated", key_id, detail, origin)
            session.commit()
            return self._load(session, new.id), secret

    def record(self, key_id: int) -> KeyRecord:
        """What the data plane knows of a key: whose bucket it draws on, and the limits in force there."""
        found = KeyStore(self._engine).find_all([key_id])
        if not found:
            raise NotFound(f"There is no key {key_id}.")
        return found[0]

    def record_reset(self, key_id: int, origin: Origin) -> KeyRecord:
        """Note that a key's bucket is being filled; returns what the data plane knows of the key."""
        record = self.record(key_id)
        with self._session() as session:
            _audit(session, "reset", key_id, {}, origin)
            session.commit()
        return record

    def announce_reset(self, key_id: int) -> None:
        """Tell every worker that a key's bucket has been filled, which no trigger sees."""
        with self._session() as session:
            session.execute(select(func.pg_notify(CHANNEL, str(key_id))))
            session.commit()

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)

    @staticmethod
    def _store_new(session: Session, key: APIKey, environment: str) -> str:
        secret = credentials.generate(environment)
        key.digest, key.hint = credentials.digest(secret), credentials.hint(secret)
        session.add(key)
        session.flush()
        return secret

    @staticmethod
    def _load(session: Session, key_id: int, *, lock: bool = False) -> APIKey:
        query = (
            select(APIKey)
            .options(*_WITH_LIMITS)
            .where(APIKey.id == key_id)
            .execution_options(populate_existing=True)
        )
        key = session.scalar(query.with_for_update(of=APIKey) if lock else query)
        if key is None:
            raise NotFound(f"There is no key {key_id}.")
        return key


def _tier(session: Session, name: str) -> Tier:
    query = select(Tier).options(selectinload(Tier.limits)).order_by(Tier.requests_per_hour)
    tiers = {tier.name: tier for tier in session.scalars(query)}
    if name not in tiers:
        raise InvalidInput.at("tier", f"must be one of {', '.join(tiers)}")
    return tiers[name]


def _check(key: APIKey, fields: Collection[str]) -> None:
    rate = key.requests_per_hour or key.tier.requests_per_hour
    burst = key.burst or key.tier.burst
    if burst is not None and burst > rate * MAX_REFILL_HOURS:
        raise InvalidInput.at("burst", f"takes over ten years to refill at {rate} requests per hour")
    if "expires_at" in fields and key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        raise InvalidInput.at("expires_at", "must be in the future; to end a key now, revoke it")


def _audit(session: Session, action: str, key_id: int, detail: Mapping[str, Any], origin: Origin) -> None:
    # Without RETURNING: this service's role may add to the audit, not read it.
    session.execute(
        insert(AuditEvent)
        .values(
            actor=origin.actor,
            action=action,
            target_type="key",
            target_id=key_id,
            detail=detail,
            client_ip=origin.client_ip,
            request_id=origin.request_id,
        )
        .inline()
    )


def _values(key: APIKey) -> dict[str, Any]:
    """What the audit holds of a key; the admin service writes the same (a contract test compares)."""
    return {name: _plain(getattr(key, name)) for name in FIELDS}


def _action(changed: Mapping[str, list[Any]]) -> str:
    """What a change is called in the audit: to pause or activate, and nothing else, has its own word."""
    if set(changed) != {"is_active"}:
        return "updated"
    return "activated" if changed["is_active"][1] else "paused"


def _plain(value: Any) -> Any:
    if isinstance(value, Tier):
        return value.name
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
