"""What rules suggested, for one click: to accept or to dismiss."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.audit import Actor
from api_manager.generic import ModelAdmin
from api_manager.keys import ConflictError
from api_manager.models import TierSuggestion
from api_manager.tier_rules import suggestions

from .links import key_link

MAX_AT_ONCE: Final = 1000
_TOLD: Final = 5
"""Keys that cannot be moved, each of which is told by itself; the others are counted."""
State = TierSuggestion.State
_LOOKS: Final = {State.WAITING: "paused", State.ACCEPTED: "active", State.DONE: "active"}
"""The mark of a state; all others look as what is over."""
_DEEDS: Final[dict[str, tuple[Callable[[int, Actor], bool], str]]] = {
    "accept": (suggestions.accept, "Accepted"),
    "dismiss": (suggestions.dismiss, "Dismissed"),
}


@admin.register(TierSuggestion)
class TierSuggestionAdmin(ModelAdmin[TierSuggestion]):
    """What rules found of keys: those that wait first, then the others, the newest first."""

    empty_hint = "What rules suggest, and what they did by themselves, stands here."
    list_display = ("key", "rule_name", "move", "figures_in_words", "made_at", "state_mark", "decide")
    list_display_links = None
    list_filter = ("state",)
    list_select_related = ("chain",)
    list_per_page = 50
    ordering = (F("decided_at").desc(nulls_first=True), "-pk")
    sortable_by = ()
    fields = ("key", "rule_name", "move", "figures_in_words", "made_at", "state", "decided_at", "decided_by")
    readonly_fields = fields
    actions = ("accept", "dismiss")

    def has_add_permission(self, _request: HttpRequest) -> bool:
        """Rules do."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: TierSuggestion | None = None) -> bool:
        """Who may change suggestions may accept and dismiss them; their pages are only looked at."""
        return super().has_change_permission(request, obj) and obj is None

    def has_delete_permission(self, _request: HttpRequest, _obj: TierSuggestion | None = None) -> bool:
        """Nobody may: rules remember by them."""
        return False

    def get_list_display(self, request: HttpRequest) -> Any:
        """Without the buttons for who may not press them."""
        shown = super().get_list_display(request)
        return shown if self.has_change_permission(request) else shown[:-1]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; the button of a row decides that row."""
        deed = next((name for name in _DEEDS if name in request.POST), None)
        if deed is None:
            return super().changelist_view(request, extra_context)
        if not self.has_change_permission(request):
            raise PermissionDenied
        number = request.POST[deed]
        known = number.isascii() and number.isdecimal() and int(number) < 2**63
        if not known or not TierSuggestion.objects.filter(pk=int(number)).exists():
            raise Http404("no such suggestion")
        self._decide(request, [int(number)], deed)
        return HttpResponseRedirect(request.get_full_path())

    @admin.display(description="key")
    def key(self, row: TierSuggestion) -> SafeString:
        """The first key of the chain, whose page leads to the newest."""
        return key_link(row.chain)

    @admin.display(description="rule")
    def rule_name(self, row: TierSuggestion) -> str:
        """As it was called then."""
        return str(row.figures["rule"])

    @admin.display(description="tier")
    def move(self, row: TierSuggestion) -> str:
        """From which tier to which."""
        target = row.figures.get("target")
        return f"{row.figures['tier']} → {target}" if target else str(row.figures["tier"])

    @admin.display(description="figures")
    def figures_in_words(self, row: TierSuggestion) -> str:
        """What led to it."""
        figures = row.figures
        tokens, denials = figures["tokens_a_day"], figures["denials_a_day"]
        return (
            f"{figures['share_percent']:g}% of {figures['limit']}, {tokens:,.10g} tokens and {denials:,.10g}"
            f" denials a day, {figures['period']}"
        )

    @admin.display(description="state")
    def state_mark(self, row: TierSuggestion) -> SafeString:
        """What became of it, and by whom."""
        look = _LOOKS.get(State(row.state), "expired")
        mark = format_html(
            '<span class="status status-{}">{}</span>', look, State(row.state).label.capitalize()
        )
        by = row.decided_by if row.state in {State.ACCEPTED, State.DISMISSED} else ""
        return format_html("{} by {}", mark, by) if by else mark

    @admin.display(description="decide")
    def decide(self, row: TierSuggestion) -> str:
        """A button for each way."""
        if row.state != State.WAITING:
            return self.get_empty_value_display()
        return render_to_string("admin/api_manager/tiersuggestion/decide.html", {"row": row})

    @admin.action(description="Accept selected suggestions", permissions=["change"])
    def accept(self, request: HttpRequest, queryset: QuerySet[TierSuggestion]) -> None:
        """Moves the keys."""
        self._decide_all(request, queryset, "accept")

    @admin.action(description="Dismiss selected suggestions", permissions=["change"])
    def dismiss(self, request: HttpRequest, queryset: QuerySet[TierSuggestion]) -> None:
        """Leaves the keys as they are."""
        self._decide_all(request, queryset, "dismiss")

    def _decide_all(self, request: HttpRequest, queryset: QuerySet[TierSuggestion], deed: str) -> None:
        ids = list(queryset.values_list("pk", flat=True)[: MAX_AT_ONCE + 1])
        if len(ids) > MAX_AT_ONCE:
            text = f"At most {intcomma(MAX_AT_ONCE)} suggestions at once: narrow the list by a filter."
            self.message_user(request, text, messages.ERROR)
            return
        self._decide(request, ids, deed)

    def _decide(self, request: HttpRequest, ids: Iterable[int], deed: str) -> None:
        operation, word = _DEEDS[deed]
        actor, done, others, conflicts = Actor.of_request(request), 0, 0, []
        for number in ids:
            try:
                is_done = operation(number, actor)
            except ConflictError as exc:
                conflicts.append(str(exc))
            else:
                done += is_done
                others += not is_done
        for text in conflicts[:_TOLD]:
            self.message_user(request, text, messages.WARNING)
        if len(conflicts) > _TOLD:
            text = f"{intcomma(len(conflicts) - _TOLD)} more cannot be moved either; they wait on."
            self.message_user(request, text, messages.WARNING)
        if done:
            self.message_user(request, f"{word}: {done}.", messages.SUCCESS)
        if others:
            text = f"Left as they are: {others}. They were decided or overtaken before."
            self.message_user(request, text, messages.WARNING)
