"""What if: a page of a tier or key that asks what other limits would have done, and saves nothing.

What was asked about may be carried over into the form that edits them.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from api_manager.chain import chain
from api_manager.chart import Chart
from api_manager.generic import ModelAdmin
from api_manager.key_page import may_see
from api_manager.models import APIKey, Tier
from api_manager.request_log.bounds import TookTooLong, bounded
from api_manager.what_if import formats
from api_manager.what_if.question import DEFAULT_RANGE, QuestionForm, present
from api_manager.what_if.replay import TooMuch, replay
from api_manager.what_if.result import Hour, Result, Sums

MOST_ROWS: Final = 200_000
"""Of a page; a command has no such bound."""
LONGEST: Final = timedelta(seconds=15)
"""Of a page: below the time after which gunicorn or a proxy would give it up."""
Row = TypeVar("Row", bound=Model)
_CARRIES: Final = "what_if"
_HOURS_DRAWN: Final = 7 * 24 + 1
"""Beyond, a bar is a day."""


class WhatIfPages(ModelAdmin[Row]):
    """The page, for tiers and for keys; and their form with what was carried over from it."""

    def what_if_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Asks for limits and a time; then says what they would have done."""
        row = self.get_object(request, str(row_id))
        may_look = may_see(request, "tier") and may_see(request, "requestlog")
        if not (may_look and self.has_view_permission(request, row)):
            raise PermissionDenied
        if row is None:
            raise Http404("no such row")
        row = _newest(row)
        form = _form(request.GET or present(*_of(row)) | {"range": DEFAULT_RANGE}, row)
        context: dict[str, Any] = {"form": form, "original": row}
        if form.is_valid() and request.GET:
            context |= self._answer(request, form, row)
        return TemplateResponse(
            request,
            "admin/api_manager/what_if.html",
            {
                **self.admin_site.each_context(request),
                "title": "What if",
                "opts": self.opts,
                "media": self.media + form.media,
                **context,
            },
            status=200 if form.is_valid() else 400,
        )

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Says so where the form shows what was carried over."""
        if _carries(request):
            self.message_user(request, "These are the numbers you asked about. Nothing is saved yet.")
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Row | None:
        """A tier or key; for the form with the rate and burst that were carried over, which are not saved."""
        row = super().get_object(request, object_id, from_field)
        if row is not None and _carries(request) and self.has_change_permission(request, row):
            form = _form(request.GET, row)
            if form.is_valid():
                for name in ("requests_per_hour", "burst"):
                    setattr(row, name, form.cleaned_data[name])
        return row

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        """With the further limits that were carried over."""
        kwargs: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        if _carries(request) and obj.pk and self.has_change_permission(request, obj):
            form = _form(request.GET, obj)
            if form.is_valid():
                kwargs["proposed"] = form.proposed
        return kwargs

    def _answer(self, request: HttpRequest, form: QuestionForm, row: Any) -> dict[str, Any]:
        question = form.question
        context: dict[str, Any] = {"terms": formats.terms(question), "command": formats.command(question)}
        try:
            with bounded(LONGEST):
                result = replay(question, most_rows=MOST_ROWS, longest=LONGEST)
        except (TooMuch, TookTooLong):
            context["problem"] = (
                f"A page looks at {MOST_ROWS:,} rows at most, for {LONGEST.total_seconds():g} seconds, and"
                " here are more. Take a shorter time, or ask the command, which has no such bound:"
            )
            return context
        page = "edit" if isinstance(row, APIKey) else "change"
        if self.has_change_permission(request, row):
            carried = urlencode(form.numbers | {_CARRIES: "1"})
            context["edit_link"] = f"{self._url(page, row.pk)}?{carried}"
        return context | {
            "result": result,
            "summary": formats.summary(result),
            "certainty": formats.certainty(result),
            "charts": [
                _chart(result, "Admitted", lambda sums: sums.admitted, lambda sums: sums.would_admit),
                _chart(result, "Denied", lambda sums: sums.denied, lambda sums: sums.would_deny),
            ],
        }

    def _url(self, page: str, row_id: int) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=[row_id])


def _newest(row: Any) -> Any:
    """The key whose limits hold for its whole chain; a tier is itself."""
    return chain(row).newest if isinstance(row, APIKey) else row


def _of(row: Any) -> tuple[Tier, APIKey | None]:
    return (row.tier, row) if isinstance(row, APIKey) else (row, None)


def _form(data: Any, row: Any) -> QuestionForm:
    return QuestionForm(data, *_of(row))


def _carries(request: HttpRequest) -> bool:
    return request.method == "GET" and _CARRIES in request.GET


def _chart(result: Result, title: str, actual: Callable[[Sums], int], would: Callable[[Sums], int]) -> Chart:
    """What happened beside what would have, by hour, or by day where that is too many."""
    is_by_hour = len(result.hours) <= _HOURS_DRAWN
    bars = result.hours if is_by_hour else _days(result.hours)
    return Chart(
        title,
        [f"{bar.start:%d %b, %H:%M}" if is_by_hour else f"{bar.start:%d %b}" for bar in bars],
        {
            "Actual": [actual(bar.sums) for bar in bars],
            "With these limits": [would(bar.sums) for bar in bars],
        },
        note=f"By {'hour' if is_by_hour else 'day'}, in UTC.",
        label_every=max(1, len(bars) // 8),
    )


def _days(hours: list[Hour]) -> list[Hour]:
    days: dict[Any, Hour] = {}
    for hour in hours:
        start = hour.start.replace(hour=0)
        before = days.get(start)
        days[start] = Hour(start, before.sums + hour.sums if before else hour.sums)
    return list(days.values())
