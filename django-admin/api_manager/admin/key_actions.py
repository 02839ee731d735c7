"""What is done with one key, a page for each: edit, expiry, limits, networks, note, revoke."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect

from api_manager import keys
from api_manager.audit import Actor
from api_manager.forms import LimitsForm, NoteForm
from api_manager.generic import ModelForm
from api_manager.key_forms import ExpiryForm, NetworksForm, RevokeForm
from api_manager.models import APIKey

from .issuing import IssuingPages
from .links import key_url


@dataclass(frozen=True)
class Part:
    """A part of a key that has a form of its own: what its page says, and its button on the key's page."""

    form: type[ModelForm[APIKey]]
    button: str
    icon: str
    title: str
    text: str


PARTS: Final = {
    "expiry": Part(
        ExpiryForm,
        "Extend…",
        "event",
        "Extend a key",
        "Once the key has expired, every request with it is refused. It can still be extended then.",
    ),
    "limits": Part(
        LimitsForm,
        "Limits…",
        "speed",
        "Tier and limits of a key",
        "What is empty is as the tier says. Tokens that were spent stay spent. What the key has of its own"
        " for a further limit (see Edit…) holds where its tier has a limit of that name.",
    ),
    "networks": Part(
        NetworksForm,
        "Networks…",
        "lan",
        "From where a key may be used",
        "Requests with the key from any other address are refused.",
    ),
    "note": Part(NoteForm, "Note…", "sticky_note_2", "Note on a key", "Operators see it on the key's page."),
}


@dataclass(frozen=True)
class Button:
    """A way to one of the pages."""

    title: str
    icon: str
    url: str
    variant: str = "default"


class KeyActions(IssuingPages[APIKey]):
    """The pages for who may change a key. A revoked one cannot be changed."""

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """One for each part, and to edit and to revoke a key."""
        parts = [(f"<int:row_id>/{name}/", name, partial(self.part_view, name=name)) for name in PARTS]
        return [
            *parts,
            ("<int:row_id>/edit/", "edit", self.edit_view),
            ("<int:row_id>/revoke/", "revoke_one", self.revoke_one_view),
            *super().pages(),
        ]

    def buttons(self, key: APIKey) -> list[Button]:
        """What can be done with a key that is not revoked."""
        return [
            Button("Rotate…", "autorenew", self.url("rotate", key.pk)),
            *(Button(part.button, part.icon, self.url(name, key.pk)) for name, part in PARTS.items()),
            Button("Edit…", "edit", self.url("edit", key.pk)),
            Button("Revoke…", "block", self.url("revoke_one", key.pk), "danger"),
        ]

    @transaction.atomic  # the key is locked here already
    def edit_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Django's form of all that can be said of a key."""
        self._open(request, row_id)
        return self.changeform_view(request, str(row_id))

    def response_post_save_change(self, _request: HttpRequest, obj: APIKey) -> HttpResponseRedirect:
        """Leads back to the key's page."""
        return HttpResponseRedirect(key_url(obj.pk))

    @transaction.atomic
    def part_view(self, request: HttpRequest, row_id: int, name: str) -> HttpResponse:
        """Asks for one part of a key, and saves it."""
        part, key = PARTS[name], self._open(request, row_id)
        form = part.form(request.POST if request.method == "POST" else None, instance=key)
        if form.is_valid():
            fields = [name for name in keys.FIELDS if name in form.cleaned_data]
            keys.update(key, fields, Actor.of_request(request))
            self.log_change(request, key, f"Changed: {', '.join(fields)}.")
            self.message_user(request, f"{part.title}: saved.", messages.SUCCESS)
            return HttpResponseRedirect(key_url(key.pk))
        # The form writes what was sent into the key; the page is to name it as it is.
        original = self._open(request, row_id)
        return self.page(request, "part", part.title, form=form, original=original, part=part)

    @transaction.atomic
    def revoke_one_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Asks for the key's name and for a reason, then revokes it."""
        key = self._open(request, row_id)
        form = RevokeForm(request.POST if request.method == "POST" else None, key=key)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            keys.revoke(key.pk, Actor.of_request(request), reason)
            self.log_change(request, key, "Revoked.")
            self.message_user(request, f"{key} is revoked.", messages.SUCCESS)
            return HttpResponseRedirect(key_url(key.pk))
        return self.page(request, "revoke_one", "Revoke a key", form=form, original=key)

    def _open(self, request: HttpRequest, row_id: int) -> APIKey:
        """A key that may be changed by who asks. Raises ``Http404`` and ``PermissionDenied``."""
        key = self.get_object(request, str(row_id))
        if key is None and self.has_change_permission(request):
            raise Http404("no such key")
        if key is None or not self.has_change_permission(request, key):
            raise PermissionDenied
        return key
