"""Operators and their groups: Django's own pages, in the theme."""

from django.contrib import admin
from django.contrib.auth import admin as auth
from django.contrib.auth.models import Group, User
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from api_manager.generic import ModelAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(auth.UserAdmin, ModelAdmin[User]):  # type: ignore[type-arg]  # generic for the checker only
    """Those who may log in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    empty_hint = "Add a user to let somebody log in."


@admin.register(Group)
class GroupAdmin(auth.GroupAdmin, ModelAdmin[Group]):
    """What several users may do alike."""

    empty_hint = "Add a group to give several users the same permissions."
