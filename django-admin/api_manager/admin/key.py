"""Keys: the list, the form and the actions. One key's pages are in ``key_pages`` and ``key_actions``."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from api_manager import credentials, keys
from api_manager.audit import Actor
from api_manager.forms import KeyForm
from api_manager.importing import formats
from api_manager.models import APIKey, Tier

from .bulk import BulkPages
from .filters import AttentionFilter, StatusFilter
from .importing import ImportPages
from .issuing import Operation
from .limits import KeyLimitInline, save_all


@admin.register(APIKey)
class KeyAdmin(BulkPages, ImportPages):
    """Issued keys. They are revoked, never deleted."""

    form = KeyForm
    empty_hint = "Issue a key, and hand it to the client that is to use it."
    list_display = ("hint", "name", "tier", "rate", "usable", "state", "created_at", "last_used")
    list_display_links = ("hint", "name")
    list_filter = ("tier", "is_active", StatusFilter, AttentionFilter)
    list_select_related = ("tier", "activity")
    list_per_page = 50  # to draw a row takes a millisecond
    search_fields = ("name", "owner_email", "hint")
    search_help_text = "A part of the name, owner or hint"
    actions = ("activate", "pause", "rotate", "retier", "revoke", "export")
    fieldsets = (
        (None, {"fields": ("name", "owner_email", "note")}),
        ("Limits", {"fields": ("tier", "requests_per_hour", "burst", "is_exempt")}),
        ("Access", {"fields": ("is_active", "expires_at", "allowed_cidrs")}),
    )

    def get_inlines(self, request: HttpRequest, obj: APIKey | None) -> Any:  # noqa: ARG002  # Django names them
        """A new key has no limits of its own yet: they stand for its tier's, which is being chosen."""
        return [KeyLimitInline] if obj else []

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> APIKey | None:
        """A key; locked when it is about to be changed, so that no edit undoes another's unseen."""
        key = super().get_object(request, object_id, from_field)
        if key is not None and request.method == "POST":
            key = APIKey.objects.select_for_update(of=("self",)).select_related("tier").get(pk=key.pk)
        return key

    def has_change_permission(self, request: HttpRequest, obj: APIKey | None = None) -> bool:
        """A revoked key is only looked at."""
        return super().has_change_permission(request, obj) and (obj is None or obj.revoked_at is None)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The form of a new key proposes the smallest tier, as the API does."""
        return {"tier": Tier.objects.first()} | super().get_changeform_initial_data(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[APIKey], search_term: str
    ) -> tuple[QuerySet[APIKey], bool]:
        """Searches as usual, but warns whoever pasted a whole key."""
        words = search_term.split()
        if any(credentials.is_well_formed(word) or formats.shows_itself(word) for word in words):
            self.message_user(
                request,
                "That is a whole key, and it now stands in this page's address and in the browser's history. "
                "Use “Find by pasted key”, and consider rotating this one.",
                messages.WARNING,
            )
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    @admin.display(
        description="requests per hour", ordering=Coalesce("requests_per_hour", "tier__requests_per_hour")
    )
    def rate(self, key: APIKey) -> str:
        """The rate in force."""
        return intcomma(key.effective_requests_per_hour)

    @admin.display(description="active", boolean=True)
    def usable(self, key: APIKey) -> bool:
        """Whether requests with the key are let through now: neither paused, nor expired, nor revoked."""
        return key.status == APIKey.Status.ACTIVE

    @admin.display(description="last used", ordering="activity__last_used_at")
    def last_used(self, key: APIKey) -> str:
        """When a request last came with the key."""
        activity = getattr(key, "activity", None)
        return display_for_value(activity and activity.last_used_at, "never")

    def save_model(self, request: HttpRequest, obj: APIKey, form: Any, change: bool) -> None:  # noqa: ARG002, FBT001  # Django's signature
        """Issues a new key; what was changed of an old one is saved with its limits, in ``save_related``."""
        if not change:
            self.remember(request, keys.issue(obj, Actor.of_request(request)))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Saves what was changed of a key and of its own limits, with one audit event."""
        if change:
            save_limits = partial(save_all, formsets)
            keys.update(form.instance, form.changed_data, Actor.of_request(request), save_limits)

    @admin.action(description="Activate selected keys", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        """Lets paused keys work again."""
        self._set_each(request, queryset, keys.activate, "Activated")

    @admin.action(description="Pause selected keys", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> None:
        """Stops keys until they are activated."""
        self._set_each(request, queryset, keys.pause, "Paused")

    def _set_each(
        self, request: HttpRequest, queryset: QuerySet[APIKey], operation: Operation, done: str
    ) -> None:
        changed = 0
        for key in queryset:
            try:
                changed += self.logged(request, key, f"{done}.", operation)
            except keys.ConflictError as exc:
                self.message_user(request, str(exc), messages.WARNING)
        unchanged = queryset.count() - changed
        self.message_user(request, f"{done}: {changed}." + (f" Unchanged: {unchanged}." if unchanged else ""))
