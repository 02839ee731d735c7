"""Rules that move keys between tiers: how they are written, and what they would do today."""

from datetime import timedelta
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from api_manager.audit import Actor
from api_manager.generic import ModelAdmin
from api_manager.keys import ConflictError
from api_manager.models import APIKey, TierRule
from api_manager.request_log.bounds import TookTooLong, bounded
from api_manager.tier_rule_forms import TierRuleForm
from api_manager.tier_rules import rules, run, suggestions
from api_manager.tier_rules.decision import Finding

_SHOWN: Final = 200
"""Keys that a preview names; the others are counted."""
_LONGEST: Final = timedelta(seconds=20)
"""Of a preview: below the time after which gunicorn or a proxy would give it up."""


@admin.register(TierRule)
class TierRuleAdmin(ModelAdmin[TierRule]):
    """Rules. A new one, and one that was changed, is off until somebody has seen what it would do."""

    form = TierRuleForm
    empty_hint = "Add a rule: it does nothing until you have seen what it would do, and switch it on."
    list_display = (
        "name",
        "state",
        "of",
        "condition_in_words",
        "action_in_words",
        "position",
        "cooldown_days",
    )
    list_select_related = ("tier", "target_tier")
    fieldsets = (
        (None, {"fields": ("name",)}),
        ("If", {"fields": ("tier", "condition", "threshold", "period_days")}),
        ("Then", {"fields": ("action", "target_tier")}),
        ("Order", {"fields": ("position", "cooldown_days")}),
    )

    def get_urls(self) -> list[URLPattern]:
        """The preview comes first: Django's last one takes any path for a row's id."""
        view = self.admin_site.admin_view(self.preview_view)
        return [path("<int:rule_id>/preview/", view, name=_PREVIEW), *super().get_urls()]

    @admin.display(description="state", ordering="is_active")
    def state(self, rule: TierRule) -> SafeString:
        """Whether it is on."""
        kind, word = ("active", "On") if rule.is_active else ("expired", "Off")
        return format_html('<span class="status status-{}">{}</span>', kind, word)

    @admin.display(description="keys of")
    def of(self, rule: TierRule) -> str:
        """Of which keys it asks."""
        return str(rule.tier or "all tiers")

    @admin.display(description="if")
    def condition_in_words(self, rule: TierRule) -> str:
        """What it asks."""
        return rule.condition_in_words()

    @admin.display(description="then")
    def action_in_words(self, rule: TierRule) -> str:
        """What it does."""
        return rule.action_in_words()

    def save_model(self, request: HttpRequest, obj: TierRule, _form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Saves with an audit event."""
        (rules.update if change else rules.create)(obj, Actor.of_request(request))

    def response_add(
        self, _request: HttpRequest, obj: TierRule, _url: str | None = None
    ) -> HttpResponseRedirect:
        """Leads to what the rule would do."""
        return HttpResponseRedirect(_preview_url(obj.pk))

    def response_change(self, _request: HttpRequest, obj: TierRule) -> HttpResponseRedirect:
        """The same."""
        return HttpResponseRedirect(_preview_url(obj.pk))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offers one way to save: it leads to the preview."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def delete_model(self, request: HttpRequest, obj: TierRule) -> None:
        """Deletes with an audit event."""
        rules.delete(obj, Actor.of_request(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[TierRule]) -> None:
        """Deletes each with an audit event."""
        for rule in queryset:
            self.delete_model(request, rule)

    def preview_view(self, request: HttpRequest, rule_id: int) -> HttpResponse:
        """What a rule would do today; a POST switches it on or off."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rule = TierRule.objects.select_related("tier", "target_tier").filter(pk=rule_id).first()
        if rule is None:
            raise Http404("no such rule")
        if request.method == "POST":
            return self._switch(request, rule)
        return TemplateResponse(
            request,
            "admin/api_manager/tierrule/preview.html",
            {
                **self.admin_site.each_context(request),
                "title": rule.name,
                "opts": self.opts,
                "media": self.media,
                "original": rule,
                "revision": rules.revision(rule),
                "may_change": self.has_change_permission(request, rule),
                **_preview(rule),
            },
        )

    def _switch(self, request: HttpRequest, rule: TierRule) -> HttpResponse:
        if not self.has_change_permission(request, rule):
            raise PermissionDenied
        on, seen = "on" in request.POST, request.POST.get("on", "")
        try:
            is_changed = rules.switch(rule.pk, Actor.of_request(request), on=on, seen=seen)
        except ConflictError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return HttpResponseRedirect(_preview_url(rule.pk))
        if is_changed:
            word = "on" if on else "off"
            self.log_change(request, rule, f"Switched {word}.")
            self.message_user(request, f"{rule} is {word}.", messages.SUCCESS)
        return HttpResponseRedirect(_preview_url(rule.pk))


_PREVIEW: Final = "api_manager_tierrule_preview"


def _preview_url(rule_id: int) -> str:
    return reverse(f"admin:{_PREVIEW}", args=[rule_id])


def _preview(rule: TierRule) -> dict[str, Any]:
    """What the rule would do beside those that are on, and why that may not be the whole truth."""
    day = suggestions.today()
    context: dict[str, Any] = {"day": day}
    try:
        run.require_counted(day)
    except run.RunError as exc:
        context["problem"] = str(exc)
    others = [other for other in run.active_rules() if other.pk != rule.pk]
    try:
        with bounded(_LONGEST):
            found = [each for each in run.plan([*others, rule], day) if each.rule.pk == rule.pk]
    except TookTooLong:
        longest = f"It took over {_LONGEST.total_seconds():g} seconds, and was stopped."
        return context | {
            "problem": f"{longest} This looks without a limit: manage.py apply_tier_rules --dry-run"
        }
    acts = [each for each in found if not each.held]
    shown = [*acts, *(each for each in found if each.held)][:_SHOWN]
    return context | {
        "acts": len(acts),
        "held": len(found) - len(acts),
        "more": len(found) - len(shown),
        "rows": _with_keys(shown),
    }


def _with_keys(findings: list[Finding]) -> list[tuple[APIKey, Finding]]:
    keys = APIKey.objects.in_bulk([each.usage.key for each in findings])
    return [(keys[each.usage.key], each) for each in findings]
