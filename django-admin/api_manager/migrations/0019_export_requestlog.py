"""Who may export requests, and that it was done."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0018_foreign_format")]

    operations = [
        migrations.AlterModelOptions(
            name="requestlog",
            options={
                "ordering": ("-timestamp", "-id"),
                "permissions": (("export_requestlog", "Can export requests"),),
                "verbose_name": "request",
            },
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
                    ("imported", "Imported"),
                    ("exported", "Exported"),
                ],
                max_length=20,
            ),
        ),
    ]
