"""Limits, on the pages of the tier or the key that has them."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest

from api_manager.generic import BaseInlineFormSet, StackedInline
from api_manager.limit_forms import (
    MAX_LIMITS,
    KeyLimitForm,
    KeyLimitFormSet,
    TierLimitForm,
    TierLimitFormSet,
)
from api_manager.models import APIKey, KeyLimit, Tier, TierLimit


def save_all(formsets: Iterable[BaseInlineFormSet[Any, Any, Any]]) -> None:
    """Saves what the inlines of a page say."""
    for formset in formsets:
        formset.save()


class _OfTheParent:
    """Who may look at or change the tier or key may do so with its limits."""

    admin_site: Any
    parent_model: Any

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As the parent's."""
        return bool(self._parent.has_view_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As it is to change the parent, or to add it."""
        may = self._parent.has_change_permission if obj else self._parent.has_add_permission
        return bool(may(request, obj) if obj else may(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """As it is to add one."""
        return self.has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return self.has_add_permission(request, obj)

    @property
    def _parent(self) -> Any:
        return self.admin_site.get_model_admin(self.parent_model)


class TierLimitInline(_OfTheParent, StackedInline[TierLimit, Tier]):
    """A tier's limits beside its own rate and burst."""

    model = TierLimit
    form = TierLimitForm
    formset = TierLimitFormSet
    extra = 0
    max_num = MAX_LIMITS
    verbose_name_plural = "Further limits"

    def get_formset(self, request: HttpRequest, obj: Tier | None = None, **kwargs: Any) -> Any:
        """One that refuses more than there may be, which the page only does not offer."""
        return super().get_formset(request, obj, validate_max=True, **kwargs)

    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "requests"),
                    ("window_seconds", "burst"),
                    ("period", "endpoint_prefix"),
                    "is_shadow",
                )
            },
        ),
    )


class KeyLimitInline(_OfTheParent, StackedInline[KeyLimit, APIKey]):
    """A key's own numbers for its tier's limits."""

    model = KeyLimit
    form = KeyLimitForm
    formset = KeyLimitFormSet
    extra = 0
    max_num = MAX_LIMITS
    verbose_name_plural = "Further limits of its own"
    fieldsets = ((None, {"fields": ("name", "requests", "burst")}),)
