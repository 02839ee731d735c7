"""The request log: its list. The pages beside it stand in ``request_pages``."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import QuerySet, prefetch_related_objects
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.models import RequestLog
from api_manager.request_log import search
from api_manager.request_log.bounds import TookTooLong, bounded
from api_manager.request_log.drilldown import Drilldown, drill_down
from api_manager.request_log.form import RANGES, CriteriaForm

from .filters import OUTCOMES
from .links import key_link
from .readonly import ReadOnlyAdmin
from .request_pages import RequestPages


class SearchedList(ChangeList):
    """A page of the log as ``search`` finds it, in the place of Django's, which counts and skips rows."""

    criteria_form: CriteriaForm
    drilldown: Drilldown | None = None
    estimate: int | None = None
    """How many rows there may be; None where the page itself shows all of them."""
    found: search.Page = search.Page([])
    problem = ""
    """Why there is nothing to see."""

    def get_queryset(self, request: HttpRequest, _exclude_parameters: Any = None) -> QuerySet[RequestLog]:
        """None: what is asked for is found by ``get_results``."""
        self.criteria_form = CriteriaForm(request.GET)
        self.filter_specs, self.has_filters = [], False
        # Whether an empty list says that nothing matches, or that there has been nothing yet.
        self.has_active_filters = bool(request.GET)
        return RequestLog.objects.none()

    def get_results(self, _request: HttpRequest) -> None:
        """Looks for the page."""
        form = self.criteria_form
        if form.is_valid():
            try:
                with bounded():
                    self._find(form)
            except TookTooLong as exc:
                self.problem = str(exc)
        self.result_list = self.found.rows
        self.result_count = self.full_result_count = len(self.found.rows)
        self.show_admin_actions = self.can_show_all = self.multi_page = False

    def _find(self, form: CriteriaForm) -> None:
        before, after = form.cleaned_data["before"], form.cleaned_data["after"]
        found = search.find(form.criteria, after or before, newer=bool(after))
        prefetch_related_objects(found.rows, "api_key")
        if found.newer or found.older:
            self.estimate = search.estimate(form.criteria)
        self.drilldown = drill_down(form.criteria, form.now)
        self.found = found

    @property
    def same_link(self) -> str:
        """The query of these filters, without the place in the list."""
        return self.criteria_form.link()

    @property
    def newer_link(self) -> str | None:
        """The query of the page with newer rows."""
        return self.criteria_form.link(after=str(self.found.newer)) if self.found.newer else None

    @property
    def older_link(self) -> str | None:
        """The query of the page with older rows."""
        return self.criteria_form.link(before=str(self.found.older)) if self.found.older else None

    @property
    def range_links(self) -> list[tuple[str, str]]:
        """The quick ranges, and the query of each."""
        form = self.criteria_form
        return [(title, form.link(range=name, since="", until="")) for name, (title, _) in RANGES.items()]


@admin.register(RequestLog)
class RequestLogAdmin(RequestPages, ReadOnlyAdmin[RequestLog]):
    """Every decision, newest first; there may be hundreds of millions."""

    empty_hint = (
        "Requests stand here a moment after a client has spent a token: POST /api/request with its key."
    )
    list_display = (
        "timestamp",
        "key",
        "endpoint",
        "outcome",
        "spent",
        "tokens_left",
        "times",
        "address",
    )
    list_display_links = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:  # noqa: ARG002  # Django names them
        """Ours."""
        return SearchedList

    @admin.display
    def key(self, row: RequestLog) -> SafeString:
        """Whose request it was."""
        try:
            return key_link(row.api_key)
        except ObjectDoesNotExist:  # a restore has not brought the key back
            return format_html("key {}", row.api_key_id)

    @admin.display(description="status")
    def outcome(self, row: RequestLog) -> SafeString:
        """What was decided, in a number and a word, and the limits of a plan that had no room."""
        code = row.status_code
        said = format_html('<span class="status status-{}">{} {}</span>', code, code, OUTCOMES.get(code, ""))
        if not row.violated:
            return said
        names = [name for name in row.violated if not name.startswith("~")]
        names += [f"{name[1:]} (shadow)" for name in row.violated if name.startswith("~")]
        return format_html('{} <span class="violated">{}</span>', said, ", ".join(names))

    @admin.display(description="cost")
    def spent(self, row: RequestLog) -> str:
        """Tokens that were asked for."""
        return intcomma(row.cost)

    @admin.display(description="count")
    def times(self, row: RequestLog) -> str:
        """How many decisions the row stands for."""
        return intcomma(row.count)

    @admin.display
    def address(self, row: RequestLog) -> str:
        """Where it came from, as far as that is kept."""
        return row.client_ip or "–"

    @admin.display(description="remaining")
    def tokens_left(self, row: RequestLog) -> Any:
        """Whole tokens left after the decision."""
        return row.remaining if row.remaining is None else intcomma(row.remaining)
