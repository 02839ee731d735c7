"""Audit events about people: logins, second factors, users and groups."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0015_key_restrictions")]

    operations = [
        # Not validated here: 0017 does that in a transaction of its own, under a lock that nobody waits for.
        migrations.RemoveConstraint(model_name="auditevent", name="audit_event_target_type_check"),
        AddConstraintNotValid(
            model_name="auditevent",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("target_type__in", ["key", "tier", "database", "token", "user", "group"])
                ),
                name="audit_event_target_type_check",
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
                ],
                max_length=10,
            ),
        ),
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
                ],
                max_length=20,
            ),
        ),
    ]
