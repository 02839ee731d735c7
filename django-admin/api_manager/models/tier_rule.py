"""Rules that move keys between tiers by what they use, and what these rules found."""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from .key import APIKey
from .tier import Tier

MAX_PERIOD_DAYS = 365
DEFAULT_COOLDOWN_DAYS = 30


class TierRule(models.Model):
    """What is to be done with keys that a condition holds of; see ``api_manager.tier_rules``."""

    class Condition(models.TextChoices):
        """What is asked of a key's usage over the period."""

        SHARE_AT_LEAST = "share_at_least", "at least this share of a quota was used, in percent"
        SHARE_AT_MOST = "share_at_most", "at most this share of a quota was used, in percent"
        DENIALS_AT_LEAST = "denials_at_least", "at least so many denials a day"
        IDLE = "idle", "no request at all"

    class Action(models.TextChoices):
        """What is done then."""

        SUGGEST = "suggest", "suggest the tier to an operator"
        CHANGE = "change", "change the tier"
        DEACTIVATE = "deactivate", "pause the key"
        NOTIFY = "notify", "notify"

    UPWARD = (Condition.SHARE_AT_LEAST, Condition.DENIALS_AT_LEAST)
    """Conditions of much usage, which lead to a higher tier; the others lead to a lower one."""
    MOVING = (Action.SUGGEST, Action.CHANGE)
    """Actions that have a target."""

    name = models.CharField(max_length=100, help_text="Shown beside all that it does.")
    tier = models.ForeignKey(
        Tier,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="rules",
        help_text="Of which keys it asks; empty: of all.",
    )
    condition = models.CharField(max_length=20, choices=Condition)
    threshold = models.BigIntegerField(
        null=True, blank=True, help_text="A percentage, or denials a day; empty for keys without a request."
    )
    period_days = models.SmallIntegerField(
        "period in days", default=30, db_default=30, help_text="The last so many days that are over (UTC)."
    )
    action = models.CharField(max_length=10, choices=Action)
    target_tier = models.ForeignKey(
        Tier,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="rules_to",
        help_text="To which tier; empty where none is changed.",
    )
    position = models.SmallIntegerField(
        default=10,
        db_default=10,
        help_text="Of rules that hold of a key the one of the lowest number counts.",
    )
    cooldown_days = models.SmallIntegerField(
        "cool-down in days",
        default=DEFAULT_COOLDOWN_DAYS,
        db_default=DEFAULT_COOLDOWN_DAYS,
        help_text="For so long after it no rule moves the key again.",
    )
    is_active = models.BooleanField("on", default=False, db_default=False, editable=False)

    class Meta:
        db_table = "tier_rule"
        ordering = ("position", "id")
        constraints = (
            models.UniqueConstraint(
                fields=["name"],
                name="tier_rule_name_key",
                violation_error_message="Name: another rule has it.",
            ),
            models.CheckConstraint(name="tier_rule_name_check", condition=~Q(name="")),
            models.CheckConstraint(
                name="tier_rule_threshold_check",
                # NULL would pass a comparison.
                condition=Q(condition="idle", threshold__isnull=True)
                | Q(condition="share_at_least", threshold__isnull=False, threshold__range=(1, 100))
                | Q(condition="share_at_most", threshold__isnull=False, threshold__range=(0, 99))
                | Q(condition="denials_at_least", threshold__isnull=False, threshold__gte=1),
                violation_error_message=(
                    "Threshold: 1 to 100 percent (at most: 0 to 99), or a denial a day or more."
                ),
            ),
            models.CheckConstraint(
                name="tier_rule_days_check",
                condition=Q(
                    period_days__range=(1, MAX_PERIOD_DAYS), cooldown_days__range=(1, MAX_PERIOD_DAYS)
                ),
                violation_error_message=f"Period and cool-down: from 1 to {MAX_PERIOD_DAYS} days.",
            ),
            models.CheckConstraint(
                name="tier_rule_action_check",
                condition=Q(action__in=["suggest", "change"], target_tier__isnull=False)
                | Q(action__in=["deactivate", "notify"], target_tier__isnull=True),
                violation_error_message="Target tier: of rules that suggest or change one, and of no others.",
            ),
            models.CheckConstraint(
                name="tier_rule_target_tier_check",
                condition=~Q(target_tier=F("tier")),
                violation_error_message="Target tier: another than that of the keys.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_upward(self) -> bool:
        """Whether it leads to a higher tier."""
        return self.condition in self.UPWARD

    @property
    def moves(self) -> bool:
        """Whether it has a target."""
        return self.action in self.MOVING

    def condition_in_words(self) -> str:
        """What it asks whether a key had it."""
        days = "1 day" if self.period_days == 1 else f"{self.period_days} days"
        match self.condition, self.threshold:
            case self.Condition.SHARE_AT_LEAST, share:
                return f"at least {share}% of a quota used over {days}"
            case self.Condition.SHARE_AT_MOST, share:
                return f"at most {share}% of a quota used over {days}"
            case self.Condition.DENIALS_AT_LEAST, denials:
                return f"at least {denials:,} denial{'' if denials == 1 else 's'} a day over {days}"
        return f"no request in {days}"

    def action_in_words(self) -> str:
        """What it does."""
        return {
            self.Action.SUGGEST: f"suggest {self.target_tier}",
            self.Action.CHANGE: f"change to {self.target_tier}",
            self.Action.DEACTIVATE: "pause the key",
            self.Action.NOTIFY: "notify",
        }[self.Action(self.action)]


class TierSuggestion(models.Model):
    """What a rule found of a key: a tier that waits for an operator, or what the rule did by itself.

    It belongs to a chain of rotations, outlives rule and tiers, and is what later runs know of the key:
    ``held_until`` and the figures keep a rule from flipping it back and forth.
    """

    class State(models.TextChoices):
        """What became of it."""

        WAITING = "waiting"
        ACCEPTED = "accepted"
        DISMISSED = "dismissed"
        OVERTAKEN = "overtaken"
        DONE = "done", "done by the rule"

    chain = models.ForeignKey(
        APIKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="suggestions",
        help_text="The first key of the chain.",
    )
    rule = models.ForeignKey(
        TierRule,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="suggestions",
    )
    tier = models.ForeignKey(
        Tier,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="Which the key had.",
    )
    target_tier = models.ForeignKey(
        Tier, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"
    )
    figures = models.JSONField(help_text="What led to it, with the names of rule and tiers.")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING, db_default=State.WAITING)
    made_at = models.DateTimeField("made", db_default=Now())
    decided_at = models.DateTimeField("decided", null=True)
    decided_by = models.CharField(
        "decided by", max_length=200, db_default="", help_text="Such as admin:alice."
    )
    held_until = models.DateField(null=True, help_text="Before this day the rule does nothing of the kind.")

    class Meta:
        db_table = "tier_suggestion"
        default_permissions = ("view", "change")
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=["chain", "rule"],
                condition=Q(state="waiting"),
                name="tier_suggestion_waiting_key",
            ),
            models.CheckConstraint(
                name="tier_suggestion_state_check",
                condition=Q(state="waiting", decided_at__isnull=True)
                | Q(
                    state__in=["accepted", "dismissed", "overtaken", "done"],
                    decided_at__isnull=False,
                ),
            ),
        )
        indexes = (models.Index(fields=["chain"], name="tier_suggestion_chain_idx"),)

    def __str__(self) -> str:
        return f"{self.figures['rule']}: key {self.chain_id}"
