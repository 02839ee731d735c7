"""Rules that move keys between tiers, what they found, keys that are exempt; the audit's words for it."""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Now


def row_id():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def tier(related_name, help_text):
    return models.ForeignKey(
        blank=True,
        db_index=False,
        help_text=help_text,
        null=True,
        on_delete=django.db.models.deletion.PROTECT,
        related_name=related_name,
        to="api_manager.tier",
    )


def reference(to, related_name, **options):
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name=related_name,
        to=to,
        **options,
    )


def grant(apps, schema_editor):
    role = schema_editor.quote_name(settings.API_DATABASE_ROLE)
    schema_editor.execute(f"GRANT UPDATE (is_exempt) ON api_key TO {role}")


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0021_limits")]

    operations = [
        migrations.CreateModel(
            name="TierRule",
            fields=[
                ("id", row_id()),
                ("name", models.CharField(help_text="Shown beside all that it does.", max_length=100)),
                ("tier", tier("rules", "Of which keys it asks; empty: of all.")),
                (
                    "condition",
                    models.CharField(
                        choices=[
                            ("share_at_least", "at least this share of a quota was used, in percent"),
                            ("share_at_most", "at most this share of a quota was used, in percent"),
                            ("denials_at_least", "at least so many denials a day"),
                            ("idle", "no request at all"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "threshold",
                    models.BigIntegerField(
                        blank=True,
                        help_text="A percentage, or denials a day; empty for keys without a request.",
                        null=True,
                    ),
                ),
                (
                    "period_days",
                    models.SmallIntegerField(
                        db_default=30,
                        default=30,
                        help_text="The last so many days that are over (UTC).",
                        verbose_name="period in days",
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("suggest", "suggest the tier to an operator"),
                            ("change", "change the tier"),
                            ("deactivate", "pause the key"),
                            ("notify", "notify"),
                        ],
                        max_length=10,
                    ),
                ),
                ("target_tier", tier("rules_to", "To which tier; empty where none is changed.")),
                (
                    "position",
                    models.SmallIntegerField(
                        db_default=10,
                        default=10,
                        help_text="Of rules that hold of a key the one of the lowest number counts.",
                    ),
                ),
                (
                    "cooldown_days",
                    models.SmallIntegerField(
                        db_default=30,
                        default=30,
                        help_text="For so long after it no rule moves the key again.",
                        verbose_name="cool-down in days",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(db_default=False, default=False, editable=False, verbose_name="on"),
                ),
            ],
            options={
                "db_table": "tier_rule",
                "ordering": ("position", "id"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("name",),
                        name="tier_rule_name_key",
                        violation_error_message="Name: another rule has it.",
                    ),
                    models.CheckConstraint(condition=~Q(name=""), name="tier_rule_name_check"),
                    models.CheckConstraint(
                        condition=Q(condition="idle", threshold__isnull=True)
                        | Q(condition="share_at_least", threshold__isnull=False, threshold__range=(1, 100))
                        | Q(condition="share_at_most", threshold__isnull=False, threshold__range=(0, 99))
                        | Q(condition="denials_at_least", threshold__isnull=False, threshold__gte=1),
                        name="tier_rule_threshold_check",
                        violation_error_message=(
                            "Threshold: 1 to 100 percent (at most: 0 to 99), or a denial a day or more."
                        ),
                    ),
                    models.CheckConstraint(
                        condition=Q(period_days__range=(1, 365), cooldown_days__range=(1, 365)),
                        name="tier_rule_days_check",
                        violation_error_message="Period and cool-down: from 1 to 365 days.",
                    ),
                    models.CheckConstraint(
                        condition=Q(action__in=["suggest", "change"], target_tier__isnull=False)
                        | Q(action__in=["deactivate", "notify"], target_tier__isnull=True),
                        name="tier_rule_action_check",
                        violation_error_message=(
                            "Target tier: of rules that suggest or change one, and of no others."
                        ),
                    ),
                    models.CheckConstraint(
                        condition=~Q(target_tier=F("tier")),
                        name="tier_rule_target_tier_check",
                        violation_error_message="Target tier: another than that of the keys.",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TierSuggestion",
            fields=[
                ("id", row_id()),
                (
                    "chain",
                    reference("api_manager.apikey", "suggestions", help_text="The first key of the chain."),
                ),
                ("rule", reference("api_manager.tierrule", "suggestions")),
                ("tier", reference("api_manager.tier", "+", help_text="Which the key had.")),
                ("target_tier", reference("api_manager.tier", "+", null=True)),
                (
                    "figures",
                    models.JSONField(help_text="What led to it, with the names of rule and tiers."),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("accepted", "Accepted"),
                            ("dismissed", "Dismissed"),
                            ("overtaken", "Overtaken"),
                            ("done", "done by the rule"),
                        ],
                        db_default="waiting",
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("made_at", models.DateTimeField(db_default=Now(), verbose_name="made")),
                ("decided_at", models.DateTimeField(null=True, verbose_name="decided")),
                (
                    "decided_by",
                    models.CharField(
                        db_default="",
                        help_text="Such as admin:alice.",
                        max_length=200,
                        verbose_name="decided by",
                    ),
                ),
                (
                    "held_until",
                    models.DateField(
                        help_text="Before this day the rule does nothing of the kind.", null=True
                    ),
                ),
            ],
            options={
                "db_table": "tier_suggestion",
                "default_permissions": ("view", "change"),
                "ordering": ("-id",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=Q(state="waiting"),
                        fields=("chain", "rule"),
                        name="tier_suggestion_waiting_key",
                    ),
                    models.CheckConstraint(
                        condition=Q(state="waiting", decided_at__isnull=True)
                        | Q(
                            state__in=["accepted", "dismissed", "overtaken", "done"],
                            decided_at__isnull=False,
                        ),
                        name="tier_suggestion_state_check",
                    ),
                ],
                "indexes": [models.Index(fields=["chain"], name="tier_suggestion_chain_idx")],
            },
        ),
        migrations.AddField(
            model_name="apikey",
            name="is_exempt",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="On: no rule moves, pauses or tells of the key.",
                verbose_name="exempt from tier rules",
            ),
        ),
        migrations.RunPython(grant, migrations.RunPython.noop),  # the column takes it along
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(
                choices=[
                    ("created", "Created"),
                    ("updated", "Updated"),
                    ("activated", "Activated"),
                    ("paused", "Paused"),
                    ("rotated", "Rotated"),
                    ("revoked", "Revoked"),
                    ("reset", "Reset"),
                    ("deleted", "Deleted"),
                    ("restored", "Restored"),
                    ("erased", "Erased"),
                    ("logged_in", "Logged In"),
                    ("login_failed", "Login Failed"),
                    ("locked_out", "Locked Out"),
                    ("unlocked", "Unlocked"),
                    ("logged_out", "Logged Out"),
                    ("password_changed", "Password Changed"),
                    ("enrolled", "Enrolled"),
                    ("unenrolled", "Unenrolled"),
                    ("codes_issued", "Codes Issued"),
                    ("imported", "Imported"),
                    ("exported", "Exported"),
                    ("suggested", "Suggested"),
                    ("dismissed", "Dismissed"),
                    ("notified", "Notified"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="target_type",
            field=models.CharField(
                choices=[
                    ("key", "Key"),
                    ("tier", "Tier"),
                    ("token", "Token"),
                    ("database", "Database"),
                    ("user", "User"),
                    ("group", "Group"),
                    ("rule", "Rule"),
                ],
                max_length=10,
            ),
        ),
        # Not validated here: the next migration does that in a transaction of its own, under a lock that
        # nobody waits for.
        migrations.RemoveConstraint(model_name="auditevent", name="audit_event_target_type_check"),
        AddConstraintNotValid(
            model_name="auditevent",
            constraint=models.CheckConstraint(
                condition=Q(target_type__in=["key", "tier", "database", "token", "user", "group", "rule"]),
                name="audit_event_target_type_check",
            ),
        ),
    ]
