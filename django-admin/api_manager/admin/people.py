"""Operators and their groups: Django's own pages, in the theme, audited; and ways to let people in again."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.contrib.auth import admin as auth
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django_otp.plugins.otp_static import admin as otp_static
from django_otp.plugins.otp_totp import admin as otp_totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from api_manager import audit, lockout, second_factor
from api_manager.audit import Actor
from api_manager.generic import ModelAdmin
from api_manager.models import AuditEvent
from api_manager.roles import ROLES

Action = AuditEvent.Action

_NOT_SAID: Final = frozenset({"password", "password1", "password2", "usable_password"})

admin.site.unregister(User)
admin.site.unregister(Group)
# On django-otp's pages a superuser would read what others' codes are computed of, and change it unaudited.
admin.site.unregister(otp_static.StaticDevice)
admin.site.unregister(otp_totp.TOTPDevice)


def urls(site: AdminSite) -> list[URLPattern]:
    """The page on which somebody changes his own password: the site's, but audited."""
    view = site.admin_view(password_change, cacheable=True)
    return [path("admin/password_change/", view, {"site": site}, name="password_change")]


def password_change(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """One's own password; every other session of this user ends."""
    user: Any = request.user
    return _audited_password(request, user, partial(site.password_change, request))


class _AuditedPeople(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for the checker only
    """Each change is an event of the audit, in the transaction that makes it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Writes the event, once groups and permissions are saved, too."""
        super().save_related(request, form, formsets, change)
        detail: dict[str, Any] = {"name": str(form.instance)}
        if change:
            detail |= {"changed": _changed(form)}
        audit.record(
            Actor.of_request(request), Action.UPDATED if change else Action.CREATED, form.instance, detail
        )

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """Deletes with an audit event."""
        audit.record(Actor.of_request(request), Action.DELETED, obj, {"name": str(obj)})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Deletes each with an audit event."""
        with transaction.atomic():
            for row in queryset:
                self.delete_model(request, row)


@admin.register(User)
class UserAdmin(_AuditedPeople, auth.UserAdmin, ModelAdmin[User]):  # type: ignore[type-arg]  # generic for the checker only
    """Those who may log in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    empty_hint = "Add a user to let somebody log in."
    list_display = (
        "username",
        "email",
        "roles",
        "is_active",
        "is_superuser",
        "has_second_factor",
        "last_login",
    )
    list_filter = ("is_active", "is_superuser", "groups")
    actions = ("unlock",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        """Users, and whether they have a second factor."""
        devices = TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True)
        users: QuerySet[User] = super().get_queryset(request).prefetch_related("groups")
        return users.annotate(enrolled=Exists(devices))

    def get_urls(self) -> list[URLPattern]:
        """Ours comes first: Django's last one takes any path for a row's id."""
        view = self.admin_site.admin_view(self.second_factor_view)
        return [
            path("<int:user_id>/second-factor/", view, name="auth_user_second_factor"),
            *super().get_urls(),
        ]

    @admin.display(description="groups")
    def roles(self, user: User) -> str:
        """The groups, by name."""
        return ", ".join(group.name for group in user.groups.all()) or self.get_empty_value_display()

    @admin.display(description="second factor", boolean=True)
    def has_second_factor(self, user: Any) -> bool:
        """Whether a login asks for a code."""
        return bool(user.enrolled)

    @admin.action(description="Let the selected users try to log in again", permissions=["change"])
    def unlock(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Ends the wait of those who failed too often, at their password or their codes."""
        unlocked = 0
        for user in queryset:
            with transaction.atomic():
                if lockout.end(user.get_username()) + second_factor.forgive(user):
                    audit.record(Actor.of_request(request), Action.UNLOCKED, user, {"name": str(user)})
                    unlocked += 1
        self.message_user(request, f"Had failed to log in of late, and may try again: {unlocked}.")

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002  # Django's name
        """Another's password; every session of his ends."""
        changed = partial(super().user_change_password, request, id, form_url)
        user = self.get_object(request, id)
        return changed() if user is None else _audited_password(request, user, changed)

    def second_factor_view(self, request: HttpRequest, user_id: int) -> HttpResponse:
        """Takes another's second factor away, once it is said that this is meant: he has lost his device."""
        user = get_object_or_404(User, pk=user_id)
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        if user == request.user and second_factor.is_enrolled(user):
            return HttpResponseRedirect(reverse("second_factor_remove"))  # one's own takes a code
        if request.method == "POST":
            had = second_factor.remove(user, Actor.of_request(request))
            said = "is removed" if had else "was there no longer"
            messages.success(request, f"The second factor of {user} {said}.")
            return HttpResponseRedirect(reverse("admin:auth_user_change", args=[user.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": f"Remove the second factor of {user}",
            "opts": self.opts,
            "media": self.media,
            "original": user,
            "is_enrolled": second_factor.is_enrolled(user),
            "is_required": settings.REQUIRE_2FA,
        }
        return TemplateResponse(request, "admin/auth/user/second_factor.html", context)


@admin.register(Group)
class GroupAdmin(_AuditedPeople, auth.GroupAdmin, ModelAdmin[Group]):
    """What several users may do alike. The roles are ``api_manager.roles``'s, and only looked at here."""

    empty_hint = "Add a group to give several users the same permissions."

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """A role is not changed here: the next upgrade would undo it."""
        return super().has_change_permission(request, obj) and (obj is None or obj.name not in ROLES)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Nor is it deleted."""
        return super().has_delete_permission(request, obj) and (obj is None or obj.name not in ROLES)

    def get_deleted_objects(
        self, objs: Iterable[Group], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What stands in the way of deleting several at once: roles among them."""
        objs = list(objs)
        listed, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        return (
            listed,
            dict(counts),
            forbidden,
            [*protected, *(str(group) for group in objs if group.name in ROLES)],
        )


def _changed(form: Any) -> dict[str, list[Any]]:
    """``{field: [before, after]}``, but for passwords."""
    names = [name for name in form.changed_data if name not in _NOT_SAID]
    return {name: [audit.plain(form[name].initial), audit.plain(form.cleaned_data[name])] for name in names}


@transaction.atomic
def _audited_password(request: HttpRequest, user: User, change: Callable[[], HttpResponse]) -> HttpResponse:
    """Runs what may change a password, and writes the event if it did."""
    before = User.objects.get(pk=user.pk).password
    response = change()
    if User.objects.get(pk=user.pk).password != before:
        audit.record(Actor.of_request(request), Action.PASSWORD_CHANGED, user, {"name": str(user)})
    return response
