"""Keys: the list, the form and the actions. The pages beside them stand in ``key_pages``."""

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from api_manager import credentials, keys
from api_manager.audit import Actor
from api_manager.forms import KeyForm
from api_manager.models import APIKey, Tier

from .filters import StatusFilter
from .issuing import Operation
from .key_pages import KeyPages
from .limits import KeyLimitInline, save_all
from .links import key_link


@admin.register(APIKey)
class KeyAdmin(KeyPages):
    """Issued keys. They are revoked, never deleted."""

    form = KeyForm
    empty_hint = "Issue a key, and hand it to the client that is to use it."
    list_display = ("hint", "name", "tier", "rate", "usable", "state", "created_at", "last_used")
    list_display_links = ("hint", "name")
    list_filter = ("tier", "is_active", StatusFilter)
    list_select_related = ("tier", "activity")
    search_fields = ("name", "owner_email", "hint")
    search_help_text = "A part of the name, owner or hint. To look for a whole key, find it by pasting."
    actions = ("activate", "pause", "rotate", "revoke")
    add_fieldsets = (
        (None, {"fields": ("name", "owner_email", "tier")}),
        ("Limits of its own", {"fields": ("requests_per_hour", "burst")}),
        ("Life", {"fields": ("is_active", "expires_at")}),
    )
    readonly_fields = (
        "hint",
        "state",
        "usable",
        "limits",
        "revoked_at",
        "predecessor",
        "successor",
        "created_at",
        "updated_at",
        "last_used",
    )

    def get_fieldsets(self, request: HttpRequest, obj: APIKey | None = None) -> Any:
        """What is said of a new key, and what is known of an old one."""
        if obj is None:
            return self.add_fieldsets
        # A tick where nothing can be changed says that the key works, not that it is not paused.
        active = "is_active" if self.has_change_permission(request, obj) else "usable"
        return (
            (None, {"fields": ("hint", "state", "name", "owner_email", "tier")}),
            ("Limits of its own", {"fields": ("requests_per_hour", "burst", "limits")}),
            ("Life", {"fields": (active, "expires_at", "revoked_at", "predecessor", "successor")}),
            ("History", {"fields": ("created_at", "updated_at", "last_used")}),
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
        if any(credentials.is_well_formed(word) for word in search_term.split()):
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

    @admin.display(description="in force")
    def limits(self, key: APIKey) -> SafeString:
        """The rate and burst in force, and the tier's further limits with the key's own numbers."""
        own = {limit.name: limit for limit in key.limits.all()}
        lines = [
            f"{key.effective_requests_per_hour:,} requests per hour, burst {key.effective_burst:,}",
            *(limit.in_words(own.get(limit.name)) for limit in key.tier.limits.all()),
        ]
        return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines))

    @admin.display(description="active", boolean=True)
    def usable(self, key: APIKey) -> bool:
        """Whether requests with the key are let through now: neither paused, nor expired, nor revoked."""
        return key.status == APIKey.Status.ACTIVE

    # A page of one key prints what these return as it is, so empty values and times are written here.
    @admin.display(description="last used", ordering="activity__last_used_at")
    def last_used(self, key: APIKey) -> str:
        """When a request last came with the key."""
        activity = getattr(key, "activity", None)
        return display_for_value(activity and activity.last_used_at, "never")

    @admin.display(description="replaces")
    def predecessor(self, key: APIKey) -> str:
        """The key this one was rotated from."""
        return key_link(key.replaces) if key.replaces else self.get_empty_value_display()

    @admin.display(description="replaced by")
    def successor(self, key: APIKey) -> str:
        """The key this one was rotated to."""
        new = APIKey.objects.filter(replaces=key).first()
        return key_link(new) if new else self.get_empty_value_display()

    def save_model(self, request: HttpRequest, obj: APIKey, _form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
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
