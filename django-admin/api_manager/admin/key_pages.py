"""The pages beside a key's form: shown once, found by pasting, rotated, revoked."""

from collections.abc import Callable
from typing import Any, Final, cast

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from api_manager import keys
from api_manager.audit import Actor
from api_manager.forms import FindForm, RotateForm
from api_manager.generic import ModelAdmin
from api_manager.models import APIKey

from .links import key_url

_TEMPLATES: Final = "admin/api_manager/apikey"

Operation = Callable[[int, Actor], bool]
"""What is done with the key of an id; whether it changed anything."""


class _IssuingRequest(HttpRequest):
    """A request on its way through Django's add view, which has no place for a result."""

    issued: keys.Issued


class KeyPages(ModelAdmin[APIKey]):
    """Views of their own, each behind the admin site's login and permissions."""

    def get_urls(self) -> list[URLPattern]:
        """Ours come first: Django's last one takes any path for a key's id."""
        pages: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("find/", "find", self.find_view),
            ("revoke/", "revoke", self.revoke_view),
            ("<int:key_id>/rotate/", "rotate", self.rotate_view),
        ]
        ours = [
            path(route, self.admin_site.admin_view(view), name=f"api_manager_apikey_{name}")
            for route, name, view in pages
        ]
        return ours + super().get_urls()

    def remember(self, request: HttpRequest, issued: keys.Issued) -> None:
        """Keeps a new key until this request is answered."""
        cast("_IssuingRequest", request).issued = issued

    def remembered(self, request: HttpRequest) -> keys.Issued:
        """The key issued in this request."""
        return cast("_IssuingRequest", request).issued

    def shown_once(self, request: HttpRequest, issued: keys.Issued) -> TemplateResponse:
        """The page with the secret, which neither browser nor proxy may keep."""
        response = self._page(request, "issued", "The new key", issued=issued, original=issued.key)
        response["Cache-Control"] = "no-store"
        return response

    @method_decorator(sensitive_post_parameters("key"))
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Leads from a pasted key to its page, or says what is wrong with it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FindForm(request.POST or None)
        if form.is_valid():
            return HttpResponseRedirect(key_url(form.cleaned_data["key"].pk))
        return self._page(request, "find", "Find by pasted key", form=form)

    def rotate_view(self, request: HttpRequest, key_id: int) -> HttpResponse:
        """Asks for the grace, then shows the successor once."""
        key = self._changeable([key_id], request)[0]
        form = RotateForm(request.POST or None)
        try:
            keys.refuse_unrotatable(key)
            if form.is_valid():
                return self.shown_once(request, self._rotated(request, key, form))
        except keys.ConflictError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return HttpResponseRedirect(key_url(key.pk))
        return self._page(request, "rotate", "Rotate a key", form=form, original=key)

    def revoke_view(self, request: HttpRequest) -> HttpResponse:
        """Asks whether it is meant, then revokes the keys named in the address."""
        ids = [int(text) for text in request.GET.getlist("id") if text.isascii() and text.isdecimal()]
        chosen = self._changeable(ids, request)
        if request.method == "POST":
            revoked = [key for key in chosen if self.logged(request, key, "Revoked.", keys.revoke)]
            self.message_user(request, f"Revoked: {len(revoked)}.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:api_manager_apikey_changelist"))
        return self._page(request, "revoke", "Revoke keys", keys=chosen)

    def logged(self, request: HttpRequest, key: APIKey, message: str, operation: Operation) -> bool:
        """Runs an operation and, when it changed something, writes it into Django's history too."""
        with transaction.atomic():
            changed = operation(key.pk, Actor.of_request(request))
            if changed:
                self.log_change(request, key, message)
        return changed

    @transaction.atomic
    def _rotated(self, request: HttpRequest, key: APIKey, form: RotateForm) -> keys.Issued:
        """Rotates a key, and writes that into Django's history too."""
        issued = keys.rotate(key.pk, form.grace, Actor.of_request(request))
        minutes = form.cleaned_data["grace_minutes"]
        self.log_change(request, key, f"Rotated to {issued.key.hint}, grace {minutes} min.")
        self.log_addition(request, issued.key, f"Issued to replace {key.hint}.")
        return issued

    def _changeable(self, ids: list[int], request: HttpRequest) -> list[APIKey]:
        """The keys of these ids, for an operator who may change keys."""
        if not super().has_change_permission(request):
            raise PermissionDenied
        found = list(APIKey.objects.filter(pk__in=ids).select_related("tier"))
        if not found:
            raise Http404("no such key")
        return found

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> TemplateResponse:
        form: Form | None = context.get("form")
        return TemplateResponse(
            request,
            f"{_TEMPLATES}/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "media": self.media + form.media if form else self.media,
                **context,
            },
        )
