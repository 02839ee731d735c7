"""Tiers."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager import audit, tiers
from api_manager.audit import Actor
from api_manager.forms import TierForm
from api_manager.models import APIKey, Tier, TierRule

from .limits import TierLimitInline, save_all
from .links import keys_of_tier_url, rule_url
from .what_if import WhatIfPages


@admin.register(Tier)
class TierAdmin(WhatIfPages[Tier]):
    """Tiers: what a key gets that has no limits of its own."""

    form = TierForm
    empty_hint = "Add a tier: every key needs one."
    list_display = ("name", "rate", "capacity", "further", "price", "keys", "description")
    readonly_fields = ("created_at", "updated_at")
    inlines = (TierLimitInline,)
    search_fields = ("name", "description")

    def get_urls(self) -> list[URLPattern]:
        """Ours comes first: Django's last one takes any path for a row's id."""
        view = self.admin_site.admin_view(self.what_if_view)
        return [path("<int:row_id>/what-if/", view, name="api_manager_tier_what_if"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tier]:
        """Tiers with the number of their keys."""
        return super().get_queryset(request).annotate(key_count=Count("keys")).prefetch_related("limits")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Tier | None:
        """A tier; locked when it is about to be changed, so that an edit sees what another has just done."""
        tier = super().get_object(request, object_id, from_field)
        if tier is not None and request.method == "POST":
            tier = Tier.objects.select_for_update().filter(pk=tier.pk).first()
        return tier

    @admin.display(description="requests per hour", ordering="requests_per_hour")
    def rate(self, tier: Tier) -> str:
        """The rate, readable."""
        return intcomma(tier.requests_per_hour)

    @admin.display(description="burst")
    def capacity(self, tier: Tier) -> str:
        """The bucket's capacity in force."""
        return intcomma(tier.burst or tier.requests_per_hour)

    @admin.display(description="price per month", ordering="price_per_month")
    def price(self, tier: Tier) -> str:
        """What a key costs a month, without what is beyond the included requests."""
        return f"{intcomma(audit.plain(tier.price_per_month))} {settings.CURRENCY}"

    @admin.display(description="further limits")
    def further(self, tier: Tier) -> str:
        """Their names; a shadow says that it is one."""
        names = [f"{limit} (shadow)" if limit.is_shadow else str(limit) for limit in tier.limits.all()]
        return ", ".join(names) or self.get_empty_value_display()

    @admin.display(ordering="key_count")
    def keys(self, tier: Tier) -> SafeString:
        """How many keys have the tier, and the way to them."""
        count = getattr(tier, "key_count", 0)
        return format_html('<a href="{}">{}</a>', keys_of_tier_url(tier), intcomma(count))

    def save_model(self, _request: HttpRequest, _obj: Tier, _form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Leaves it to ``save_related``, so that one audit event tells of the tier and its limits."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Saves the tier and its limits, with an audit event."""
        save = tiers.update if change else tiers.create
        save(form.instance, Actor.of_request(request), partial(save_all, formsets))

    def delete_model(self, request: HttpRequest, obj: Tier) -> None:
        """Deletes with an audit event."""
        tiers.delete(obj, Actor.of_request(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Tier]) -> None:
        """Deletes each with an audit event."""
        for tier in queryset:
            self.delete_model(request, tier)

    def get_deleted_objects(
        self, objs: Iterable[Tier], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What stands in the way: rules, and keys. These are counted rather than listed: they may be many."""
        objs = list(objs)
        protected: list[Any] = [
            format_html('{} has <a href="{}">{} keys</a>', tier, keys_of_tier_url(tier), count)
            for tier in objs
            if (count := APIKey.objects.filter(tier=tier).count())
        ]
        protected += [
            format_html('The tier rule <a href="{}">{}</a> names it', rule_url(rule.pk), rule)
            for rule in TierRule.objects.filter(Q(tier__in=objs) | Q(target_tier__in=objs))
        ]
        forbidden = set() if self.has_delete_permission(request) else {"tier"}
        return [str(tier) for tier in objs], {"tiers": len(objs)}, forbidden, protected
