"""Links from one page to another."""

from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.models import APIKey, ManagementToken, Tier


def key_link(key: APIKey) -> SafeString:
    """A key's name and hint, leading to its page."""
    return format_html('<a href="{}">{}</a> <code>{}</code>', key_url(key.pk), key.name, key.hint)


def key_url(key_id: int) -> str:
    """The page of a key."""
    return reverse("admin:api_manager_apikey_change", args=[key_id])


def tier_url(tier_id: int) -> str:
    """The page of a tier."""
    return reverse("admin:api_manager_tier_change", args=[tier_id])


def rule_url(rule_id: int) -> str:
    """The page of a tier rule."""
    return reverse("admin:api_manager_tierrule_change", args=[rule_id])


def token_link(token: ManagementToken) -> SafeString:
    """A management token's name and hint, leading to its page."""
    return format_html('<a href="{}">{}</a> <code>{}</code>', token_url(token.pk), token.name, token.hint)


def token_url(token_id: int) -> str:
    """The page of a management token."""
    return reverse("admin:api_manager_managementtoken_change", args=[token_id])


def keys_url(**filters: str | int) -> str:
    """The list of the keys that pass these filters."""
    return f"{reverse('admin:api_manager_apikey_changelist')}?{urlencode(filters)}"


def user_url(user_id: int) -> str:
    """The page of a user."""
    return reverse("admin:auth_user_change", args=[user_id])


def group_url(group_id: int) -> str:
    """The page of a group."""
    return reverse("admin:auth_group_change", args=[group_id])


def keys_of_tier_url(tier: Tier) -> str:
    """The list of a tier's keys."""
    return keys_url(tier__id__exact=tier.pk)


def webhook_url(webhook_id: int) -> str:
    """The page of a webhook."""
    return reverse("admin:api_manager_webhook_change", args=[webhook_id])


def delivery_url(delivery_id: int) -> str:
    """The page of a delivery."""
    return reverse("admin:api_manager_delivery_change", args=[delivery_id])
