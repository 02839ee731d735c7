"""The operator's pages, one module for each kind of row.

What changes keys, tiers, management tokens and webhooks goes through ``api_manager.keys``, ``tiers``,
``tokens`` and ``webhooks``, which write the audit trail; Django's own history is written beside it. Pages
over the large tables never count or sort a whole table (see ``paginator``). Their look is django-unfold's:
``config.theme`` tells it name and navigation, and the app's templates and styles mend it where it is not
for every hand and eye.
"""

from django.contrib import admin

from . import (
    audit_event,
    delivery,
    key,
    people,
    request_log,
    statement,
    tier,
    tier_rule,
    tier_suggestion,
    token,
    usage,
    webhook,
)

admin.site.empty_value_display = "–"
admin.site.index_title = "Overview"

__all__ = [
    "audit_event",
    "delivery",
    "key",
    "people",
    "request_log",
    "statement",
    "tier",
    "tier_rule",
    "tier_suggestion",
    "token",
    "usage",
    "webhook",
]
