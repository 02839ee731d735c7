"""The request log."""

from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.models import APIKey, RequestLog

from .filters import OUTCOMES, EndpointFilter, KeyFilter, StatusCodeFilter
from .links import key_link
from .readonly import ReadOnlyAdmin


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin[RequestLog]):
    """Every decision, newest first; there may be hundreds of millions."""

    empty_hint = (
        "Requests stand here a moment after a client has spent a token: POST /api/request with its key."
    )
    list_display = (
        "timestamp",
        "key",
        "endpoint",
        "outcome",
        "cost",
        "tokens_left",
        "count",
        "client_ip",
    )
    list_display_links = None
    list_filter = (StatusCodeFilter, KeyFilter, EndpointFilter)
    list_select_related = ("api_key",)
    date_hierarchy = "timestamp"
    search_fields = ("endpoint",)
    search_help_text = "A part of the key's name or hint, or an endpoint in full."

    def get_search_results(
        self, _request: HttpRequest, queryset: QuerySet[RequestLog], search_term: str
    ) -> tuple[QuerySet[RequestLog], bool]:
        """Looks among the keys, which are few, and among the log's rows only by equality."""
        term = search_term.strip()
        if not term:
            return queryset, False
        keys = APIKey.objects.filter(Q(name__icontains=term) | Q(hint__icontains=term))
        return queryset.filter(Q(api_key__in=keys.values("pk")) | Q(endpoint=term)), False

    @admin.display
    def key(self, row: RequestLog) -> SafeString:
        """Whose request it was."""
        return key_link(row.api_key)

    @admin.display(description="status code")
    def outcome(self, row: RequestLog) -> SafeString:
        """What was decided, in a number and a word, and the limits of a plan that had no room."""
        code = row.status_code
        said = format_html('<span class="status status-{}">{} {}</span>', code, code, OUTCOMES.get(code, ""))
        if not row.violated:
            return said
        names = [name for name in row.violated if not name.startswith("~")]
        names += [f"{name[1:]} (shadow)" for name in row.violated if name.startswith("~")]
        return format_html('{} <span class="violated">{}</span>', said, ", ".join(names))

    @admin.display(description="remaining")
    def tokens_left(self, row: RequestLog) -> Any:
        """Whole tokens left after the decision."""
        return row.remaining if row.remaining is None else intcomma(row.remaining)
