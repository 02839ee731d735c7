"""The audit trail: who did what to which key, tier, rule, token, webhook, user or group, with the deed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

import structlog
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .client import client_ip
from .models import APIKey, AuditEvent, ManagementToken, Tier, TierRule, Webhook

_TARGETS: Final = {
    APIKey: AuditEvent.Target.KEY,
    Tier: AuditEvent.Target.TIER,
    TierRule: AuditEvent.Target.RULE,
    ManagementToken: AuditEvent.Target.TOKEN,
    User: AuditEvent.Target.USER,
    Group: AuditEvent.Target.GROUP,
    Webhook: AuditEvent.Target.WEBHOOK,
}

SHOWN_ONCE: Final = {"secret": "shown once"}
"""What an event says whose actor was shown a secret: the answer to what he did held it."""


@dataclass(frozen=True)
class Actor:
    """Who acts: ``admin:alice`` from an address, or ``command:create_api_key``."""

    name: str
    client_ip: str | None = None
    request_id: str = ""

    @classmethod
    def of_request(cls, request: HttpRequest) -> Self:
        """The operator who sent a request to the admin site."""
        return cls.of_user(request.user, request)

    @classmethod
    def of_user(cls, user: User | AnonymousUser, request: HttpRequest) -> Self:
        """Somebody whom his request may not know yet, as at a login."""
        return cls(
            name=f"admin:{user.get_username()}",
            client_ip=client_ip(request),
            request_id=structlog.contextvars.get_contextvars().get("request_id", ""),
        )

    @classmethod
    def stranger(cls, request: HttpRequest) -> Self:
        """Somebody who has not proved who he is."""
        return replace(cls.of_user(AnonymousUser(), request), name="anonymous")

    @classmethod
    def of_command(cls, name: str) -> Self:
        """A management command."""
        return cls(name=f"command:{name}")


def record(actor: Actor, action: AuditEvent.Action, target: Model, detail: dict[str, Any]) -> None:
    """Writes one event; ``detail`` says what changed and never holds a secret.

    KeyError for a target of no kind that the audit knows.
    """
    _event(actor, action, _target(target), detail).save()


def record_all(
    actor: Actor, action: AuditEvent.Action, details: Iterable[tuple[Model, dict[str, Any]]]
) -> None:
    """Writes an event for each target, in few statements."""
    events = [_event(actor, action, _target(target), detail) for target, detail in details]
    AuditEvent.objects.bulk_create(events, batch_size=1000)


def record_seldom(
    actor: Actor, action: AuditEvent.Action, user: User | None, detail: dict[str, Any], every: timedelta
) -> None:
    """Writes an event about a user, or a name that nobody has, unless there was one of its kind just now.

    For what strangers can cause as often as they like: each attempt is counted and logged, and the audit,
    which is kept for ever, has one event of each ``every``.
    """
    target = AuditEvent.Target.USER, user.pk if user else 0
    earlier = AuditEvent.objects.filter(target_type=target[0], target_id=target[1], action=action)
    if not earlier.filter(timestamp__gt=timezone.now() - every).exists():
        _event(actor, action, target, detail).save()


def _target(target: Model) -> tuple[AuditEvent.Target, int]:
    return _TARGETS[target.__class__], target.pk


def _event(
    actor: Actor, action: AuditEvent.Action, target: tuple[AuditEvent.Target, int], detail: dict[str, Any]
) -> AuditEvent:
    return AuditEvent(
        actor=actor.name,
        action=action,
        target_type=target[0],
        target_id=target[1],
        detail=detail,
        client_ip=actor.client_ip,
        request_id=actor.request_id,
    )


def record_export(actor: Actor, detail: dict[str, Any]) -> None:
    """Writes who took what out of the database: rows of the log, keys, or statements."""
    AuditEvent.objects.create(
        actor=actor.name,
        action=AuditEvent.Action.EXPORTED,
        target_type=AuditEvent.Target.DATABASE,
        target_id=0,
        detail=detail,
        client_ip=actor.client_ip,
        request_id=actor.request_id,
    )


def values(row: Model, fields: Iterable[str]) -> dict[str, Any]:
    """The named fields of a row as JSON values: times in ISO 8601 (UTC), related rows as their text."""
    return {field: plain(getattr(row, field)) for field in fields}


def changes(before: Model, after: Model, fields: Iterable[str]) -> dict[str, list[Any]]:
    """``{field: [before, after]}`` for each of the named fields that differs."""
    old, new = values(before, fields), values(after, fields)
    return {field: [old[field], new[field]] for field in old if old[field] != new[field]}


def limits(owner: APIKey | Tier) -> list[dict[str, Any]]:
    """The limits of a tier, or a key's own, each with what is said of it."""
    return [
        {name: value for name, value in values(limit, limit.FIELDS).items() if value not in {None, False}}
        for limit in owner.limits.order_by("id")  # not what was read before
    ]


def limit_changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, Any]:
    """``{"limits": [before, after]}`` of those that differ; empty where none does."""
    gone = [limit for limit in before if limit not in after]
    new = [limit for limit in after if limit not in before]
    return {"limits": [gone, new]} if gone or new else {}


def plain(value: Any) -> Any:
    """A value as it stands in JSON: times in ISO 8601 (UTC), a related row as its text, many as a list."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds")
        case Decimal():
            return f"{value.normalize():f}"
        case Model():
            return str(value)
        case list() | QuerySet():
            return sorted(str(each) for each in value)
        case _:
            return value
