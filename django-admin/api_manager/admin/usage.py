"""Hourly usage."""

from typing import Final

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from api_manager.models import APIKey, Tier, UsageHourly

from .filters import EndpointFilter, KeyFilter
from .links import key_link
from .readonly import ReadOnlyAdmin

_MOST_KEYS: Final = 1_000
"""Keys that are looked for by their numbers."""


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

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002  # Django's signature
        queryset: QuerySet[UsageHourly],
        search_term: str,
    ) -> tuple[QuerySet[UsageHourly], bool]:
        """Looks for the keys first: by their numbers PostgreSQL knows how much usage there is to expect."""
        if not search_term:
            return queryset, False
        keys = APIKey.objects.values_list("pk", flat=True)
        for word in search_term.split():
            keys = keys.filter(Q(name__icontains=word) | Q(hint__icontains=word))
        found = list(keys[: _MOST_KEYS + 1])
        if not found:
            return queryset.none(), False
        return queryset.filter(api_key__in=found if len(found) <= _MOST_KEYS else keys), False

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
