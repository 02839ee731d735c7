"""The pages beside the request log's list: what a key was used for, and the export."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from api_manager import audit
from api_manager.audit import Actor
from api_manager.generic import ModelAdmin
from api_manager.models import APIKey, RequestLog
from api_manager.request_log import export, origins, search
from api_manager.request_log.bounds import TookTooLong, bounded
from api_manager.request_log.form import CriteriaForm

_MANAGER: Final = "api_manager"
_BYTES_A_MEGABYTE: Final = 1_000_000


class RequestPages(ModelAdmin[RequestLog]):
    """Views of their own, each behind the admin site's login and permissions."""

    def get_urls(self) -> list[URLPattern]:
        """Ours come first: Django's last one takes any path for a row's id."""
        views: dict[str, Callable[..., HttpResponseBase]] = {
            "origins": self.origins_view,
            "export": self.export_view,
        }
        ours = [
            path(f"{name}/", self.admin_site.admin_view(view), name=f"{_MANAGER}_requestlog_{name}")
            for name, view in views.items()
        ]
        return ours + super().get_urls()

    def origins_view(self, request: HttpRequest) -> HttpResponse:
        """From which addresses a key was used, and at which endpoints."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = CriteriaForm(request.GET)
        if not form.is_valid():
            return self._back(request, form)
        if form.criteria.key is None:
            form.add_error("api_key", "Name one key: this page shows where a single one was used.")
            return self._back(request, form)
        try:
            with bounded():
                found = origins.of_key(form.criteria.key, form.criteria.span)
        except TookTooLong as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return HttpResponseRedirect(f"{self._list()}{form.link()}")
        key = APIKey.objects.get(pk=form.criteria.key)
        of_key = {"api_key": key.pk, "endpoint": "", "status_code": "", "client_ip": ""}
        return self._page(
            request,
            "origins",
            "Where a key was used",
            key=key,
            found=found,
            criteria=form.criteria,
            list_link=f"{self._list()}{form.link(**of_key)}",
            addresses=[
                (use, f"{self._list()}{form.link(**of_key | {'client_ip': use.name})}")
                for use in found.addresses
            ],
            endpoints=[
                (use, f"{self._list()}{form.link(**of_key | {'endpoint': use.name})}")
                for use in found.endpoints
            ],
        )

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Says how much it will be; then streams it, and writes into the audit who had it."""
        if not request.user.has_perm(f"{_MANAGER}.export_requestlog"):
            raise PermissionDenied
        form = CriteriaForm(request.GET)
        if not form.is_valid():
            return self._back(request, form)
        if request.method == "POST" and request.POST.get("format") in export.FORMATS:
            return self._download(request, form, request.POST["format"])
        rows = search.estimate(form.criteria)
        return self._page(
            request,
            "export",
            "Export requests",
            facts=form.criteria.facts() | {"from": form.criteria.span.start, "to": form.criteria.span.end},
            rows=rows,
            formats=[
                (name, max(0.1, round(rows * kind.bytes_a_row / _BYTES_A_MEGABYTE, 1)))
                for name, kind in export.FORMATS.items()
            ],
            most_minutes=export.MOST_TIME // timedelta(minutes=1),
            action=f"{request.path}{form.fixed()}",
            list_link=f"{self._list()}{form.link()}",
        )

    def _download(self, request: HttpRequest, form: CriteriaForm, name: str) -> HttpResponseBase:
        kind = export.FORMATS[name]
        try:
            stream = export.Export(form.criteria, kind)
        except export.Busy:
            text = f"{export.MOST_AT_ONCE} exports run, the most at once. Try again when one has ended."
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        try:
            audit.record_export(Actor.of_request(request), form.criteria.facts() | {"format": name})
        except BaseException:
            stream.close()
            raise
        return StreamingHttpResponse(
            stream,
            content_type=kind.content_type,
            headers={
                "Content-Disposition": f'attachment; filename="{export.file_name(form.criteria, kind)}"',
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would read ahead of whoever downloads, to its disk
            },
        )

    def _back(self, request: HttpRequest, form: CriteriaForm) -> HttpResponse:
        """To the list, which has the fields, with what is wrong."""
        for name, errors in form.errors.items():
            for error in errors:
                self.message_user(request, f"{form.fields[name].label or name}: {error}", messages.ERROR)
        return HttpResponseRedirect(f"{self._list()}{form.link()}")

    def _list(self) -> str:
        return reverse(f"admin:{_MANAGER}_requestlog_changelist")

    def _page(self, request: HttpRequest, name: str, title: str, **context: Any) -> TemplateResponse:
        return TemplateResponse(
            request,
            f"admin/{_MANAGER}/requestlog/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": title,
                "opts": self.opts,
                "media": self.media,
                **context,
            },
        )
