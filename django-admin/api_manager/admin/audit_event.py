"""The audit trail."""

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from api_manager.models import AuditEvent

from .filters import TargetFilter
from .links import group_url, key_url, rule_url, tier_url, token_url, user_url, webhook_url
from .readonly import ReadOnlyAdmin

_URLS = {
    AuditEvent.Target.KEY: key_url,
    AuditEvent.Target.TIER: tier_url,
    AuditEvent.Target.TOKEN: token_url,
    AuditEvent.Target.USER: user_url,
    AuditEvent.Target.GROUP: group_url,
    AuditEvent.Target.RULE: rule_url,
    AuditEvent.Target.WEBHOOK: webhook_url,
}


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin[AuditEvent]):
    """Who did what to which key, tier, rule, token, webhook, user or group, through either service."""

    empty_hint = (
        "What is done to keys, tiers, rules, tokens, webhooks, users and groups stands here, and every login."
    )
    list_display = ("timestamp", "actor", "action", "target", "what_changed", "client_ip")
    list_filter = ("action", "target_type", TargetFilter)
    search_fields = ("=actor", "=request_id", "=target_id")
    search_help_text = "Actor (admin:alice), request id or number"

    @admin.display
    def target(self, event: AuditEvent) -> SafeString:
        """What it was done to, and the way there; the database, and a name that nobody has, have no page."""
        if not event.target_id:
            return format_html("{}", event.target_type)
        url = _URLS[AuditEvent.Target(event.target_type)](event.target_id)
        return format_html('<a href="{}">{} {}</a>', url, event.target_type, event.target_id)

    @admin.display(description="what changed")
    def what_changed(self, event: AuditEvent) -> SafeString:
        """The detail, one line a fact."""
        return what_changed(event)


def what_changed(event: AuditEvent) -> SafeString:
    """The detail of an event, one line a fact: what was changed, from what to what."""
    detail = dict(event.detail)
    changed = detail.pop("changed", {})
    lines = [(name, f"{_text(old)} → {_text(new)}") for name, (old, new) in changed.items()]
    lines += [(name, _text(value)) for name, value in detail.items() if value not in (None, "", [])]
    return format_html_join(SafeString("<br>"), "{}: {}", lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value in (None, "") else str(value)
