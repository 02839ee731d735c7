"""Management tokens: the list, the form to issue one, and a page to look at. What one opens never changes."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.http import HttpRequest, HttpResponse

from api_manager import tokens
from api_manager.audit import Actor
from api_manager.forms import TokenForm
from api_manager.models import ManagementToken

from .issuing import IssuingPages
from .links import token_link


@admin.register(ManagementToken)
class TokenAdmin(IssuingPages[ManagementToken]):
    """Issued management tokens. They are rotated and revoked, never edited or deleted."""

    noun = "token"
    operations = tokens
    related = ("replaces",)

    form = TokenForm
    empty_hint = "Issue a token for the program that is to manage keys or to read metrics."
    list_display = ("hint", "name", "opens", "state", "expires_at", "created_at", "last_used")
    list_display_links = ("hint", "name")
    actions = ("rotate", "revoke")
    add_fieldsets = ((None, {"fields": ("name", "scopes", "expires_at")}),)
    fieldsets = (
        (None, {"fields": ("hint", "state", "name", "opens")}),
        ("Life", {"fields": ("expires_at", "revoked_at", "predecessor", "successor")}),
        ("History", {"fields": ("created_at", "last_used")}),
    )
    readonly_fields = (
        "hint",
        "state",
        "opens",
        "revoked_at",
        "predecessor",
        "successor",
        "created_at",
        "last_used",
    )

    def get_fieldsets(self, request: HttpRequest, obj: ManagementToken | None = None) -> Any:
        """What is said of a new token, and what is known of an old one."""
        return self.add_fieldsets if obj is None else super().get_fieldsets(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: ManagementToken | None = None) -> bool:
        """A token's page is only looked at; who may change tokens may rotate and revoke them."""
        return super().has_change_permission(request, obj) and obj is None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offers to rotate and to revoke, to whom it is allowed."""
        token: ManagementToken | None = context["original"]
        is_open = token is not None and token.revoked_at is None
        context["may_end"] = is_open and self.has_change_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="scopes")
    def opens(self, token: ManagementToken) -> str:
        """What it opens."""
        return ", ".join(token.scopes)

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, token: ManagementToken) -> str:
        """When a call last came with the token, to the minute."""
        return display_for_value(token.last_used_at, "never")

    @admin.display(description="replaces")
    def predecessor(self, token: ManagementToken) -> str:
        """The token this one was rotated from."""
        return token_link(token.replaces) if token.replaces else self.get_empty_value_display()

    @admin.display(description="replaced by")
    def successor(self, token: ManagementToken) -> str:
        """The token this one was rotated to."""
        new = ManagementToken.objects.filter(replaces=token).first()
        return token_link(new) if new else self.get_empty_value_display()

    def save_model(self, request: HttpRequest, obj: ManagementToken, _form: Any, _change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Issues a new token."""
        self.remember(request, tokens.issue(obj, Actor.of_request(request)))
