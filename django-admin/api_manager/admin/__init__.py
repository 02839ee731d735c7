"""The operator's pages, one module for each kind of row.

What changes keys, tiers and management tokens goes through ``api_manager.keys``, ``tiers`` and ``tokens``,
which write the audit trail; Django's own history is written beside it. Pages over the large tables never
count or sort a whole table (see ``paginator``).
"""

from django.contrib import admin

from . import audit_event, key, request_log, tier, token, usage

admin.site.site_header = "Rate limiter"
admin.site.site_title = "Rate limiter"
admin.site.site_url = None  # the site is the admin
admin.site.enable_nav_sidebar = False  # the lists need its room
admin.site.empty_value_display = "–"
admin.site.index_title = "Keys, tiers and what they are used for"

__all__ = ["audit_event", "key", "request_log", "tier", "token", "usage"]
