"""SQLAlchemy's mirror of the shared tables; Django's migrations own their DDL.

``tests/contract`` compares the two to the letter: columns, types, defaults, constraints, indexes.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, INET, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from .bounds import MAX_BURST, MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR, MAX_WINDOW_SECONDS

_NOW: Final = text("statement_timestamp()")


def _rate_checks(table: str) -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(
            f"requests_per_hour >= 1 AND requests_per_hour <= {MAX_REQUESTS_PER_HOUR}",
            name=f"{table}_requests_per_hour_check",
        ),
        CheckConstraint(f"burst >= 1 AND burst <= {MAX_BURST}", name=f"{table}_burst_check"),
        CheckConstraint(f"burst <= requests_per_hour * {MAX_REFILL_HOURS}", name=f"{table}_refill_check"),
    )


def _price_checks(table: str) -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(
            "price_per_month >= 0 AND price_per_month <= 99999999.9999"
            " AND price_per_thousand >= 0 AND price_per_thousand <= 99999999.9999",
            name=f"{table}_price_check",
        ),
        CheckConstraint("included_requests >= 0", name=f"{table}_included_requests_check"),
    )


def _limit_checks(table: str) -> tuple[CheckConstraint, ...]:
    return (
        CheckConstraint(
            "name ~ '^[a-z][a-z0-9_]{0,30}$' AND NOT (name = 'default')", name=f"{table}_name_check"
        ),
        CheckConstraint(
            f"requests >= 1 AND requests <= {MAX_REQUESTS_PER_HOUR}", name=f"{table}_requests_check"
        ),
        CheckConstraint(f"burst >= 1 AND burst <= {MAX_BURST}", name=f"{table}_burst_check"),
    )


class Base(DeclarativeBase):
    """The metadata of the shared schema."""

    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's own declaration
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        Decimal: Numeric(12, 4),
    }


class Tier(Base):
    """A plan: the rate and burst of every key that has none of its own."""

    __tablename__ = "tier"
    __table_args__ = (
        UniqueConstraint("name", name="tier_name_key"),
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9_-]*$'", name="tier_name_check"),
        CheckConstraint("fallback IN ('local', 'closed', 'open')", name="tier_fallback_check"),
        *_rate_checks("tier"),
        *_price_checks("tier"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    requests_per_hour: Mapped[int]
    burst: Mapped[int | None]
    fallback: Mapped[str] = mapped_column(String(10), server_default="local")
    description: Mapped[str] = mapped_column(Text, server_default="")
    price_per_month: Mapped[Decimal] = mapped_column(server_default=text("0"))
    price_per_thousand: Mapped[Decimal] = mapped_column(server_default=text("0"))
    included_requests: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    limits: Mapped[list["TierLimit"]] = relationship(
        lazy="raise_on_sql", viewonly=True, order_by="TierLimit.id"
    )


class TierPrice(Base):
    """What a tier cost from a moment on; a trigger writes it."""

    __tablename__ = "tier_price"
    __table_args__ = _price_checks("tier_price")

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tier_id: Mapped[int]
    tier_name: Mapped[str] = mapped_column(String(50))
    price_per_month: Mapped[Decimal] = mapped_column(server_default=text("0"))
    price_per_thousand: Mapped[Decimal] = mapped_column(server_default=text("0"))
    included_requests: Mapped[int | None]
    valid_from: Mapped[datetime] = mapped_column(server_default=_NOW)


class KeyTerms(Base):
    """Which tier and owner a chain of rotations had from a moment on; a trigger writes it."""

    __tablename__ = "key_terms"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chain_id: Mapped[int]
    tier_id: Mapped[int]
    owner_email: Mapped[str] = mapped_column(String(254))
    ends_at: Mapped[datetime | None]
    valid_from: Mapped[datetime] = mapped_column(server_default=_NOW)


class TierLimit(Base):
    """One of a tier's limits beside its default bucket: a further bucket, or a quota of a calendar period."""

    __tablename__ = "tier_limit"
    __table_args__ = (
        UniqueConstraint("tier_id", "name", name="tier_limit_tier_name_key"),
        *_limit_checks("tier_limit"),
        CheckConstraint(
            "(period IS NULL AND window_seconds IS NOT NULL)"
            " OR (burst IS NULL AND period IS NOT NULL AND window_seconds IS NULL)",
            name="tier_limit_terms_check",
        ),
        CheckConstraint(
            f"window_seconds >= 1 AND window_seconds <= {MAX_WINDOW_SECONDS}",
            name="tier_limit_window_seconds_check",
        ),
        CheckConstraint(
            f"(requests * 3600) <= (window_seconds * {MAX_REQUESTS_PER_HOUR})", name="tier_limit_rate_check"
        ),
        CheckConstraint(
            f"(burst * window_seconds) <= (requests * {MAX_REFILL_HOURS * 3600})",
            name="tier_limit_refill_check",
        ),
        CheckConstraint("period IN ('day', 'month')", name="tier_limit_period_check"),
        CheckConstraint(
            "NOT (endpoint_prefix = '' AND endpoint_prefix IS NOT NULL)",
            name="tier_limit_endpoint_prefix_check",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    tier_id: Mapped[int] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    name: Mapped[str] = mapped_column(String(31))
    requests: Mapped[int]
    window_seconds: Mapped[int | None]
    burst: Mapped[int | None]
    period: Mapped[str | None] = mapped_column(String(5))
    endpoint_prefix: Mapped[str | None] = mapped_column(String(200))
    is_shadow: Mapped[bool] = mapped_column(server_default=text("false"))


class APIKey(Base):
    """An issued key: its digest, its limits, and what it is good for. Never deleted."""

    __tablename__ = "api_key"
    __table_args__ = (
        UniqueConstraint("digest", name="api_key_digest_key"),
        UniqueConstraint("replaces_id", name="api_key_replaces_key"),
        CheckConstraint("octet_length(digest) = 32", name="api_key_digest_check"),
        CheckConstraint("NOT (name = '')", name="api_key_name_check"),
        CheckConstraint(
            "expires_at >= '2000-01-01 00:00:00+00'::timestamptz"
            " AND expires_at < '9000-01-01 00:00:00+00'::timestamptz",
            name="api_key_expires_at_check",
        ),
        CheckConstraint("NOT (replaces_id = id AND replaces_id IS NOT NULL)", name="api_key_replaces_check"),
        CheckConstraint(
            "cardinality(allowed_cidrs) <= 50 AND array_position(allowed_cidrs, NULL) IS NULL",
            name="api_key_allowed_cidrs_check",
        ),
        CheckConstraint("length(note) <= 2000", name="api_key_note_check"),
        CheckConstraint(
            "length(revoked_reason) <= 500 AND (revoked_reason = '' OR revoked_at IS NOT NULL)",
            name="api_key_revoked_reason_check",
        ),
        *_rate_checks("api_key"),
        Index("api_key_tier_idx", "tier_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    owner_email: Mapped[str] = mapped_column(String(254), server_default="")
    hint: Mapped[str] = mapped_column(String(32))
    digest: Mapped[bytes]
    tier_id: Mapped[int] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    requests_per_hour: Mapped[int | None]
    burst: Mapped[int | None]
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    expires_at: Mapped[datetime | None]
    allowed_cidrs: Mapped[list[str]] = mapped_column(ARRAY(CIDR), server_default="{}")
    note: Mapped[str] = mapped_column(Text, server_default="")
    is_exempt: Mapped[bool] = mapped_column(server_default=text("false"))
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str] = mapped_column(Text, server_default="")
    replaces_id: Mapped[int | None] = mapped_column(
        ForeignKey("api_key.id", deferrable=True, initially="DEFERRED")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=_NOW)

    tier: Mapped[Tier] = relationship(lazy="raise_on_sql")
    limits: Mapped[list["KeyLimit"]] = relationship(
        lazy="raise_on_sql", cascade="all, delete-orphan", order_by="KeyLimit.id"
    )


class TierRule(Base):
    """What is to be done with keys that a condition holds of; the admin service's alone."""

    __tablename__ = "tier_rule"
    __table_args__ = (
        UniqueConstraint("name", name="tier_rule_name_key"),
        CheckConstraint("NOT (name = '')", name="tier_rule_name_check"),
        CheckConstraint(
            "condition = 'idle' AND threshold IS NULL"
            " OR condition = 'share_at_least' AND threshold IS NOT NULL AND threshold BETWEEN 1 AND 100"
            " OR condition = 'share_at_most' AND threshold IS NOT NULL AND threshold BETWEEN 0 AND 99"
            " OR condition = 'denials_at_least' AND threshold >= 1 AND threshold IS NOT NULL",
            name="tier_rule_threshold_check",
        ),
        CheckConstraint(
            "cooldown_days BETWEEN 1 AND 365 AND period_days BETWEEN 1 AND 365",
            name="tier_rule_days_check",
        ),
        CheckConstraint(
            "action IN ('suggest', 'change') AND target_tier_id IS NOT NULL"
            " OR action IN ('deactivate', 'notify') AND target_tier_id IS NULL",
            name="tier_rule_action_check",
        ),
        CheckConstraint(
            "NOT (target_tier_id = tier_id AND target_tier_id IS NOT NULL AND tier_id IS NOT NULL)",
            name="tier_rule_target_tier_check",
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    tier_id: Mapped[int | None] = mapped_column(ForeignKey("tier.id", deferrable=True, initially="DEFERRED"))
    condition: Mapped[str] = mapped_column(String(20))
    threshold: Mapped[int | None]
    period_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("30"))
    action: Mapped[str] = mapped_column(String(10))
    target_tier_id: Mapped[int | None] = mapped_column(
        ForeignKey("tier.id", deferrable=True, initially="DEFERRED")
    )
    position: Mapped[int] = mapped_column(SmallInteger, server_default=text("10"))
    cooldown_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("30"))
    is_active: Mapped[bool] = mapped_column(server_default=text("false"))


class TierSuggestion(Base):
    """What a rule found of a chain of rotations; the admin service's alone."""

    __tablename__ = "tier_suggestion"
    __table_args__ = (
        CheckConstraint(
            "decided_at IS NULL AND state = 'waiting'"
            " OR decided_at IS NOT NULL AND state IN ('accepted', 'dismissed', 'overtaken', 'done')",
            name="tier_suggestion_state_check",
        ),
        Index(
            "tier_suggestion_waiting_key",
            "chain_id",
            "rule_id",
            unique=True,
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("tier_suggestion_chain_idx", "chain_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    chain_id: Mapped[int]
    rule_id: Mapped[int]
    tier_id: Mapped[int]
    target_tier_id: Mapped[int | None]
    figures: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(10), server_default="waiting")
    made_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str] = mapped_column(String(200), server_default="")
    held_until: Mapped[date | None]


class ForeignFormat(Base):
    """What the keys of another system look like that were imported."""

    __tablename__ = "foreign_format"
    __table_args__ = (
        UniqueConstraint("prefix", "min_length", "max_length", "alphabet", name="foreign_format_key"),
        CheckConstraint(
            "prefix ~ '^[!-~]*$' AND NOT (prefix ~ '^rl[km]_')", name="foreign_format_prefix_check"
        ),
        CheckConstraint(
            "max_length >= min_length AND max_length <= 200 AND min_length >= length(prefix) + 16",
            name="foreign_format_length_check",
        ),
        CheckConstraint(
            "alphabet IN ('hex', 'base62', 'base64url', 'visible')", name="foreign_format_alphabet_check"
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    prefix: Mapped[str] = mapped_column(String(64))
    min_length: Mapped[int] = mapped_column(SmallInteger)
    max_length: Mapped[int] = mapped_column(SmallInteger)
    alphabet: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class KeyLimit(Base):
    """A key's own numbers for the limit of its tier that has this name."""

    __tablename__ = "key_limit"
    __table_args__ = (
        UniqueConstraint("api_key_id", "name", name="key_limit_key_name_key"),
        *_limit_checks("key_limit"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    api_key_id: Mapped[int] = mapped_column(ForeignKey("api_key.id", deferrable=True, initially="DEFERRED"))
    name: Mapped[str] = mapped_column(String(31))
    requests: Mapped[int]
    burst: Mapped[int | None]


class ManagementToken(Base):
    """A token of the management API: its digest, what it opens, and until when. Never deleted."""

    __tablename__ = "management_token"
    __table_args__ = (
        UniqueConstraint("digest", name="management_token_digest_key"),
        UniqueConstraint("replaces_id", name="management_token_replaces_key"),
        Index("management_token_name_key", "name", unique=True, postgresql_where=text("replaces_id IS NULL")),
        CheckConstraint("octet_length(digest) = 32", name="management_token_digest_check"),
        CheckConstraint(
            "name ~ '^[a-z0-9][a-z0-9_.-]*$' AND NOT (name = 'token')", name="management_token_name_check"
        ),
        CheckConstraint(
            "scopes <@ ARRAY['keys:read', 'keys:write', 'metrics:read'] AND NOT (scopes = '{}')",
            name="management_token_scopes_check",
        ),
        CheckConstraint(
            "expires_at >= '2000-01-01 00:00:00+00'::timestamptz"
            " AND expires_at < '9000-01-01 00:00:00+00'::timestamptz",
            name="management_token_expires_at_check",
        ),
        CheckConstraint(
            "NOT (replaces_id = id AND replaces_id IS NOT NULL)", name="management_token_replaces_check"
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    hint: Mapped[str] = mapped_column(String(32))
    digest: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    replaces_id: Mapped[int | None] = mapped_column(
        ForeignKey("management_token.id", deferrable=True, initially="DEFERRED")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class RequestLog(Base):
    """One decision: an admitted request is a row of its own, denials may share one."""

    __tablename__ = "request_log"
    __table_args__ = (
        PrimaryKeyConstraint("id", "timestamp", name="request_log_pkey"),
        CheckConstraint("status_code >= 100 AND status_code <= 599", name="request_log_status_code_check"),
        CheckConstraint("cost >= 1", name="request_log_cost_check"),
        CheckConstraint(
            "count = 1 OR (count > 1 AND status_code >= 400)",
            name="request_log_count_check",
        ),
        Index("request_log_key_timestamp_idx", "api_key_id", "timestamp"),
        Index("request_log_timestamp_idx", "timestamp", "id"),
        {"postgresql_partition_by": "RANGE (timestamp)"},
    )

    id: Mapped[int] = mapped_column(Sequence("request_log_id_seq", data_type=BigInteger))
    api_key_id: Mapped[int]
    endpoint: Mapped[str] = mapped_column(String(200))
    status_code: Mapped[int] = mapped_column(SmallInteger)
    cost: Mapped[int]
    remaining: Mapped[int | None]
    count: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    client_ip: Mapped[str | None] = mapped_column(INET)
    timestamp: Mapped[datetime]
    decision_id: Mapped[int | None]
    violated: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")


class RequestLogArchive(Base):
    """A day of the request log that was written to a file; the admin's commands keep it."""

    __tablename__ = "request_log_archive"
    __table_args__ = (
        CheckConstraint("rows >= 0", name="request_log_archive_rows_check"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="request_log_archive_sha256_check"),
    )

    day: Mapped[date] = mapped_column(primary_key=True)
    rows: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    archived_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    kept_until: Mapped[datetime | None]


class UsageHourly(Base):
    """What a key did at an endpoint within an hour; kept by the drain, with the log's rows."""

    __tablename__ = "usage_hourly"
    __table_args__ = (
        UniqueConstraint("api_key_id", "hour", "endpoint", name="usage_hourly_key_hour_endpoint_key"),
        CheckConstraint(
            "allowed >= 0 AND cost >= 0 AND limited >= 0",
            name="usage_hourly_counts_check",
        ),
        Index("usage_hourly_hour_idx", "hour"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    api_key_id: Mapped[int]
    hour: Mapped[datetime]
    endpoint: Mapped[str] = mapped_column(String(200))
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


def _sums_check(table: str) -> CheckConstraint:
    return CheckConstraint("allowed >= 0 AND cost >= 0 AND limited >= 0", name=f"{table}_counts_check")


class UsageMinutely(Base):
    """What a key did within a minute; kept by the drain for two days."""

    __tablename__ = "usage_minutely"
    __table_args__ = (_sums_check("usage_minutely"),)

    minute: Mapped[datetime] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class UsageDaily(Base):
    """What a key did within a day (UTC); kept by the drain."""

    __tablename__ = "usage_daily"
    __table_args__ = (_sums_check("usage_daily"),)

    day: Mapped[date] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class EndpointHourly(Base):
    """What all keys did at an endpoint within an hour; kept by the drain."""

    __tablename__ = "endpoint_hourly"
    __table_args__ = (_sums_check("endpoint_hourly"),)

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(200), primary_key=True)
    allowed: Mapped[int] = mapped_column(server_default=text("0"))
    limited: Mapped[int] = mapped_column(server_default=text("0"))
    cost: Mapped[int] = mapped_column(server_default=text("0"))


class KeyActivity(Base):
    """When a key was last used; apart from the key, so that its use does not look like an edit."""

    __tablename__ = "key_activity"

    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_used_at: Mapped[datetime]


class ErasedKey(Base):
    """A key whose owner is erased: the drain writes no address into its rows any more."""

    __tablename__ = "erased_key"

    api_key_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    erased_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class AuditEvent(Base):
    """Who did what to which key, tier, rule, token, webhook, user or group; written by both services.

    It is changed only to erase an owner.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        CheckConstraint(
            "target_type IN ('key', 'tier', 'database', 'token', 'user', 'group', 'rule', 'webhook')",
            name="audit_event_target_type_check",
        ),
        CheckConstraint("NOT (actor = '')", name="audit_event_actor_check"),
        Index("audit_event_target_idx", "target_type", "target_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    timestamp: Mapped[datetime] = mapped_column(server_default=_NOW)
    actor: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(20))
    target_type: Mapped[str] = mapped_column(String(10))
    target_id: Mapped[int]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    client_ip: Mapped[str | None] = mapped_column(INET)
    request_id: Mapped[str] = mapped_column(String(64), server_default="")


class Webhook(Base):
    """An address that is told what happens to keys; the admin tells it."""

    __tablename__ = "webhook"
    __table_args__ = (
        CheckConstraint("NOT (name = '')", name="webhook_name_check"),
        CheckConstraint("url LIKE 'https://%' OR url LIKE 'http://%'", name="webhook_url_check"),
        CheckConstraint(
            "kinds <@ ARRAY['key.quota', 'key.expiring', 'key.rotated', 'key.revoked', 'key.retiered',"
            " 'key.rule']"
            " AND NOT (kinds = '{}')",
            name="webhook_kinds_check",
        ),
        CheckConstraint("secret_version >= 1", name="webhook_secret_version_check"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    name: Mapped[str] = mapped_column(String(50))
    url: Mapped[str] = mapped_column(String(500))
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))
    secret_version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    previous_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class Notice(Base):
    """What happened to a key; triggers and the admin write it."""

    __tablename__ = "notice"
    __table_args__ = (UniqueConstraint("dedupe_key", name="notice_dedupe_key_key"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    uid: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    kind: Mapped[str] = mapped_column(String(20))
    api_key_id: Mapped[int | None]
    dedupe_key: Mapped[str] = mapped_column(String(200))
    data: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class Delivery(Base):
    """A notice on its way to a webhook."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("notice_id", "webhook_id", name="delivery_notice_webhook_key"),
        CheckConstraint("status IN ('pending', 'delivered', 'dead')", name="delivery_status_check"),
        Index(
            "delivery_due_idx",
            "webhook_id",
            "next_attempt_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("delivery_dead_idx", "id", postgresql_where=text("status = 'dead'")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey("notice.id", deferrable=True, initially="DEFERRED"))
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", deferrable=True, initially="DEFERRED"))
    status: Mapped[str] = mapped_column(String(10), server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    attempted_at: Mapped[datetime | None]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    duration_ms: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text, server_default="")
    answer: Mapped[str] = mapped_column(Text, server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class DrainCursor(Base):
    """How far the request log's stream has been copied into the database."""

    __tablename__ = "drain_cursor"
    __table_args__ = (CheckConstraint("shard >= 0", name="drain_cursor_shard_check"),)

    shard: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    epoch: Mapped[str] = mapped_column(String(32), server_default="")
    last_id: Mapped[str] = mapped_column(String(41), server_default="0-0")
    position: Mapped[int] = mapped_column(server_default=text("0"))
    updated_at: Mapped[datetime] = mapped_column(server_default=_NOW)
