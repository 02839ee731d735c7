"""What the pages of keys and of management tokens have in common: a secret shown once, rotate, revoke."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.audit import Actor
from api_manager.forms import RotateForm
from api_manager.generic import ModelAdmin
from api_manager.keys import ConflictError

MAX_REVOKED_AT_ONCE: Final = 200

Row = TypeVar("Row", bound=Model)
Operation = Callable[[int, Actor], bool]
"""What is done with the row of an id; whether it changed anything."""


class _IssuingRequest(HttpRequest):
    """A request on its way through Django's add view, which has no place for a result."""

    issued: Any


class IssuingPages(ModelAdmin[Row]):
    """Views of their own, each behind the admin site's login and permissions."""

    noun: str
    """What a row is called, and the attribute of what was issued that holds it."""
    operations: ModuleType
    """Its ``rotate``, ``revoke`` and ``refuse_unrotatable`` are what the pages do."""
    related: tuple[str, ...]
    """What the pages show along with a row."""

    def get_urls(self) -> list[URLPattern]:
        """Ours come first: Django's last one takes any path for a row's id."""
        pages = [
            path(route, self.admin_site.admin_view(view), name=self._name(name))
            for route, name, view in self.pages()
        ]
        return pages + super().get_urls()

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """The pages beside those of Django: path, name, view."""
        return [
            ("revoke/", "revoke", self.revoke_view),
            ("<int:row_id>/rotate/", "rotate", self.rotate_view),
        ]

    def has_delete_permission(self, _request: HttpRequest, _obj: Row | None = None) -> bool:
        """Nobody may: the audit trail points here."""
        return False

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offers one way to save: after adding, the page that shows the secret must be looked at."""
        context |= {
            "show_save_and_add_another": False,
            "show_save_and_continue": not kwargs.get("add", False),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(self, request: HttpRequest, _obj: Row, _post_url: str | None = None) -> HttpResponse:
        """Shows the secret: here and now, for it is nowhere afterwards."""
        return self.shown_once(request, cast("_IssuingRequest", request).issued)

    def remember(self, request: HttpRequest, issued: Any) -> None:
        """Keeps what was issued until this request is answered."""
        cast("_IssuingRequest", request).issued = issued

    def shown_once(self, request: HttpRequest, issued: Any) -> TemplateResponse:
        """The page with the secret, which neither browser nor proxy may keep."""
        original = getattr(issued, self.noun)
        response = self.page(request, "issued", f"The new {self.noun}", issued=issued, original=original)
        response["Cache-Control"] = "no-store"
        return response

    @admin.display(description="status")
    def state(self, row: Any) -> SafeString:
        """What a row is good for now."""
        return format_html('<span class="status status-{}">{}</span>', row.status, row.status.label)

    @admin.action(description="Rotate the selected %(verbose_name)s…", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[Row]) -> HttpResponse | None:
        """Leads to the page that asks for the grace."""
        selected = list(queryset[:2])
        if len(selected) != 1:
            text = f"Rotate one {self.noun} at a time: its successor is shown once."
            self.message_user(request, text, messages.ERROR)
            return None
        return HttpResponseRedirect(self.url("rotate", selected[0].pk))

    @admin.action(description="Revoke selected %(verbose_name_plural)s…", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Row]) -> HttpResponse | None:
        """Leads to the page that asks whether it is meant."""
        ids = list(queryset.values_list("pk", flat=True)[: MAX_REVOKED_AT_ONCE + 1])
        if len(ids) > MAX_REVOKED_AT_ONCE:
            text = f"Revoking is final: at most {MAX_REVOKED_AT_ONCE} {self.noun}s at once."
            self.message_user(request, text, messages.ERROR)
            return None
        return HttpResponseRedirect(f"{self.url('revoke')}?{urlencode({'id': ids}, doseq=True)}")

    def rotate_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Asks for the grace, then shows the successor once."""
        row = self._changeable([row_id], request)[0]
        form = RotateForm(request.POST or None)
        try:
            self.operations.refuse_unrotatable(row)
            if form.is_valid():
                return self.shown_once(request, self._rotated(request, row, form))
        except ConflictError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return HttpResponseRedirect(self.url("change", row.pk))
        return self.page(request, "rotate", f"Rotate a {self.noun}", form=form, original=row)

    def revoke_view(self, request: HttpRequest) -> HttpResponse:
        """Asks whether it is meant, then revokes the rows named in the address."""
        ids = [int(text) for text in request.GET.getlist("id") if text.isascii() and text.isdecimal()]
        chosen = self._changeable(ids, request)
        if request.method == "POST":
            revoked = [row for row in chosen if self.logged(request, row, "Revoked.", self.operations.revoke)]
            self.message_user(request, f"Revoked: {len(revoked)}.", messages.SUCCESS)
            return HttpResponseRedirect(self.url("changelist"))
        return self.page(request, "revoke", f"Revoke {self.noun}s", chosen=chosen)

    def logged(self, request: HttpRequest, row: Row, message: str, operation: Operation) -> bool:
        """Runs an operation and, when it changed something, writes it into Django's history too."""
        with transaction.atomic():
            changed = operation(row.pk, Actor.of_request(request))
            if changed:
                self.log_change(request, row, message)
        return changed

    def url(self, name: str, *args: object) -> str:
        """The address of one of the pages."""
        return reverse(f"admin:{self._name(name)}", args=args)

    def page(self, request: HttpRequest, name: str, title: str, **context: Any) -> TemplateResponse:
        """A page of ours, in the site's frame."""
        form: Form | None = context.get("form")
        return TemplateResponse(
            request,
            f"admin/{self.opts.app_label}/{self.opts.model_name}/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "media": self.media + form.media if form else self.media,
                **context,
            },
        )

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    @transaction.atomic
    def _rotated(self, request: HttpRequest, row: Any, form: RotateForm) -> Any:
        """Rotates, and writes that into Django's history too."""
        issued = self.operations.rotate(row.pk, form.grace, Actor.of_request(request))
        new = getattr(issued, self.noun)
        minutes = form.cleaned_data["grace_minutes"]
        self.log_change(request, row, f"Rotated to {new.hint}, grace {minutes} min.")
        self.log_addition(request, new, f"Issued to replace {row.hint}.")
        return issued

    def _changeable(self, ids: list[int], request: HttpRequest) -> list[Row]:
        """The rows of these ids, for an operator who may change such rows."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        found = list(self.get_queryset(request).filter(pk__in=ids).select_related(*self.related))
        if not found:
            raise Http404(f"no such {self.noun}")
        return found
