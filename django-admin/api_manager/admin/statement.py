"""Statements: what each owner owes for a month, as pages and as CSV."""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from api_manager import audit, statement
from api_manager.audit import Actor
from api_manager.models import Statement
from api_manager.request_log.bounds import TookTooLong, bounded
from api_manager.statement import Month
from api_manager.statement_formats import as_csv, export_detail, state

from .readonly import ReadOnlyAdmin

_LIST: Final = "api_manager_statement_changelist"
_CSV: Final = "api_manager_statement_csv"
_LONGEST: Final = timedelta(seconds=20)
"""Of a page: below the time after which gunicorn or a proxy would give it up."""


class _MonthForm(forms.Form):
    """A month of those that there are."""

    month = forms.TypedChoiceField(
        coerce=Month.parse,
        widget=UnfoldAdminSelectWidget,
        error_messages={"invalid_choice": "No such month."},
    )

    def __init__(self, data: dict[str, Any], months: list[Month]) -> None:
        super().__init__(data)
        self.fields["month"].choices = [(str(month), f"{month.start:%B %Y}") for month in months]  # type: ignore[attr-defined]


@admin.register(Statement)
class StatementAdmin(ReadOnlyAdmin[Statement]):
    """A page of all owners, one of each, and either as CSV."""

    def get_urls(self) -> list[URLPattern]:
        """Ours alone: no single row has a page."""
        return [
            path("", self.admin_site.admin_view(self.statements_view), name=_LIST),
            path("csv/", self.admin_site.admin_view(self.csv_view), name=_CSV),
        ]

    def statements_view(self, request: HttpRequest) -> HttpResponse:
        """What all owners owe for a month, or, where ``owner`` says whose, the lines of one."""
        form, month, owner = self._asked(request)
        context: dict[str, Any] = {"form": form, "currency": settings.CURRENCY, "owner": owner}
        if month is not None:
            query = {"month": str(month)} | ({} if owner is None else {"owner": owner})
            context |= {
                "month": month,
                "state": state(is_final=statement.is_final(month)),
                "csv_link": f"{reverse(f'admin:{_CSV}')}?{urlencode(query)}",
                "list_link": f"{reverse(f'admin:{_LIST}')}?{urlencode({'month': str(month)})}",
            }
            try:
                context |= self._drawn(month, owner)
            except TookTooLong:
                context["problem"] = _too_slow(month)
        name = "list" if owner is None else "owner"
        return TemplateResponse(
            request,
            f"admin/api_manager/statement/{name}.html",
            {
                **self.admin_site.each_context(request),
                "title": "Statements"
                if owner is None
                else f"Statement of {owner or 'keys without an owner'}",
                "opts": self.opts,
                "media": self.media,
                **context,
            },
            status=200 if form.is_valid() else 400,
        )

    def csv_view(self, request: HttpRequest) -> HttpResponse:
        """The same as a file; the audit says who had it."""
        form, month, owner = self._asked(request)
        if month is None:
            return HttpResponse(f"month: {form.errors['month'][0]}", status=400, content_type="text/plain")
        is_final = statement.is_final(month)
        try:
            with bounded(_LONGEST):
                drawn = statement.draw(month, owner)
        except TookTooLong:
            return HttpResponse(_too_slow(month), status=503, content_type="text/plain")
        text = as_csv(month, drawn, is_final=is_final)
        audit.record_export(Actor.of_request(request), export_detail(month, owner, "csv"))
        name = f"statement{'' if owner is None else '-of-one'}-{month}.csv"
        return HttpResponse(
            text,
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    def _asked(self, request: HttpRequest) -> tuple[_MonthForm, Month | None, str | None]:
        """The form, and the month and owner that were asked for; the last month if none was."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        months = statement.months(timezone.now())
        asked = request.GET.get("month", str(months[min(1, len(months) - 1)]))
        form = _MonthForm({"month": asked}, months)
        month = form.cleaned_data["month"] if form.is_valid() else None
        owner = request.GET.get("owner")
        if owner is not None and "\0" in owner:  # PostgreSQL has none in a text
            raise BadRequest("owner: expected an address")
        return form, month, owner

    def _drawn(self, month: Month, owner: str | None) -> dict[str, Any]:
        with bounded(_LONGEST):
            drawn = statement.draw(month, owner)
        if owner is not None:
            return {"statement": drawn[0] if drawn else None}
        base = reverse(f"admin:{_LIST}")
        return {
            "statements": [
                (each, f"{base}?{urlencode({'month': str(month), 'owner': each.owner})}") for each in drawn
            ],
            "total": statement.total(line for each in drawn for line in each.lines),
        }


def _too_slow(month: Month) -> str:
    return (
        f"It took over {_LONGEST.total_seconds():g} seconds, and was stopped."
        f" This draws it without a limit: manage.py statement --month {month}"
    )
