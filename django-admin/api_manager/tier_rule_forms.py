"""What an operator may say of a tier rule."""

from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from .forms import without_key
from .generic import ModelForm
from .models import MAX_PERIOD_DAYS, TierRule
from .tier_rules import rules
from .tier_rules.decision import contradiction

Condition = TierRule.Condition
_THRESHOLDS: Final = {
    Condition.SHARE_AT_LEAST: (1, 100, "a percentage from 1 to 100"),
    Condition.SHARE_AT_MOST: (0, 99, "a percentage from 0 to 99"),
    Condition.DENIALS_AT_LEAST: (1, 10**12, "denials a day, 1 or more"),
}
"""The lowest, the highest, and both in words."""


def _days(label: str, help_text: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        min_value=1,
        max_value=MAX_PERIOD_DAYS,
        initial=30,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=help_text,
    )


class TierRuleForm(ModelForm[TierRule]):
    """A rule: of which keys it asks what, and what it does."""

    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget)
    threshold = forms.IntegerField(
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="A percentage, or denials a day; empty for keys without a request.",
    )
    period_days = _days("Period in days", "The last so many days that are over (UTC).")
    cooldown_days = _days("Cool-down in days", "For so long after it no rule moves the key again.")
    position = forms.IntegerField(
        min_value=0,
        max_value=10_000,
        initial=10,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Of rules that hold of a key the one of the lowest number counts.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = TierRule
        fields = rules.FIELDS
        widgets = dict.fromkeys(("tier", "condition", "action", "target_tier"), UnfoldAdminSelectWidget)

    def clean_name(self) -> str:
        """Refuses a key that was pasted here."""
        return without_key(self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        """Refuses what does not go together, and a rule that would move keys back that another moves."""
        data = super().clean() or self.cleaned_data
        if {"condition", "threshold", "action", "tier", "target_tier"} & set(self.errors):
            return data
        self._check_threshold(data["condition"], data["threshold"])
        self._check_target(data)
        if not self.errors:
            # What the form says, laid over the rule, as it will be saved.
            said = TierRule(pk=self.instance.pk, **{name: data[name] for name in rules.FIELDS})
            others = TierRule.objects.exclude(pk=said.pk).select_related("tier", "target_tier")
            if against := contradiction(said, others):
                self.add_error("threshold", against)
        return data

    def _check_threshold(self, condition: str, threshold: int | None) -> None:
        if condition == Condition.IDLE:
            if threshold is not None:
                self.add_error("threshold", "Leave it empty: this condition has none.")
            return
        lowest, highest, words = _THRESHOLDS[Condition(condition)]
        if threshold is None or not lowest <= threshold <= highest:
            self.add_error("threshold", f"Expected {words}.")

    def _check_target(self, data: dict[str, Any]) -> None:
        tier, target = data["tier"], data["target_tier"]
        if data["action"] not in TierRule.MOVING:
            if target is not None:
                self.add_error("target_tier", "Leave it empty: this action changes no tier.")
        elif target is None:
            self.add_error("target_tier", "Say to which tier.")
        elif target == tier:
            self.add_error("target_tier", "The keys have this tier already.")
        elif tier is not None:
            is_upward = data["condition"] in TierRule.UPWARD
            rates = target.requests_per_hour - tier.requests_per_hour
            if rates < 0 if is_upward else rates > 0:
                way, than = ("up", "less") if is_upward else ("down", "more")
                self.add_error(
                    "target_tier", f"This condition leads {way}, and {target} has {than} than {tier}."
                )
