"""Proves the constraint that 0022_tier_rules renewed for the rows that were there before."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api_manager", "0022_tier_rules")]

    operations = [
        ValidateConstraint(model_name="auditevent", name="audit_event_target_type_check"),
    ]
