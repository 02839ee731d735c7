"""The audit trail: who did what to which key, tier or token, written in the transaction that does it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import structlog
from django.db.models import Model
from django.http import HttpRequest

from .client import client_ip
from .models import APIKey, AuditEvent, ManagementToken, Tier

_TARGETS: Final = {
    APIKey: AuditEvent.Target.KEY,
    Tier: AuditEvent.Target.TIER,
    ManagementToken: AuditEvent.Target.TOKEN,
}


@dataclass(frozen=True)
class Actor:
    """Who acts: ``admin:alice`` from an address, or ``command:create_api_key``."""

    name: str
    client_ip: str | None = None
    request_id: str = ""

    @classmethod
    def of_request(cls, request: HttpRequest) -> Self:
        """The operator who sent a request to the admin site."""
        return cls(
            name=f"admin:{request.user.get_username()}",
            client_ip=client_ip(request),
            request_id=structlog.contextvars.get_contextvars().get("request_id", ""),
        )

    @classmethod
    def of_command(cls, name: str) -> Self:
        """A management command."""
        return cls(name=f"command:{name}")


def record(
    actor: Actor,
    action: AuditEvent.Action,
    target: APIKey | Tier | ManagementToken,
    detail: dict[str, Any],
) -> None:
    """Writes one event; ``detail`` says what changed and never holds a secret."""
    AuditEvent.objects.create(
        actor=actor.name,
        action=action,
        target_type=_TARGETS[type(target)],
        target_id=target.pk,
        detail=detail,
        client_ip=actor.client_ip,
        request_id=actor.request_id,
    )


def values(row: Model, fields: Iterable[str]) -> dict[str, Any]:
    """The named fields of a row as JSON values: times in ISO 8601 (UTC), related rows as their text."""
    return {field: _plain(getattr(row, field)) for field in fields}


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


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds")
        case Model():
            return str(value)
        case _:
            return value
