"""Hourly usage."""

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.safestring import SafeString

from api_manager.models import Tier, UsageHourly

from .filters import EndpointFilter, KeyFilter
from .links import key_link
from .readonly import ReadOnlyAdmin


@admin.register(UsageHourly)
class UsageHourlyAdmin(ReadOnlyAdmin[UsageHourly]):
    """What each key did at each endpoint, hour by hour."""

    empty_hint = "Usage stands here a moment after the first request of an hour."
    list_display = ("hour", "key", "tier", "endpoint", "let_through", "held_back", "spent")
    list_display_links = None
    list_filter = ("api_key__tier", "hour", KeyFilter, EndpointFilter)
    list_select_related = ("api_key__tier",)
    search_fields = ("api_key__name", "api_key__hint")
    search_help_text = "A part of the key's name or hint"

    @admin.display
    def key(self, row: UsageHourly) -> SafeString:
        """Whose usage it is."""
        return key_link(row.api_key)

    @admin.display
    def tier(self, row: UsageHourly) -> Tier:
        """The tier the key has now."""
        return row.api_key.tier

    @admin.display(description="allowed", ordering="allowed")
    def let_through(self, row: UsageHourly) -> str:
        """Requests that were allowed."""
        return intcomma(row.allowed)

    @admin.display(description="limited", ordering="limited")
    def held_back(self, row: UsageHourly) -> str:
        """Requests that were limited."""
        return intcomma(row.limited)

    @admin.display(description="cost", ordering="cost")
    def spent(self, row: UsageHourly) -> str:
        """Tokens that were spent."""
        return intcomma(row.cost)
