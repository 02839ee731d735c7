"""Django's date drill-down for the request log, without its scans of the whole table."""

from typing import Any

from django import template
from django.contrib.admin.views.main import ChangeList

from api_manager.partitions import logged_days

register = template.Library()


@register.inclusion_tag("admin/date_hierarchy.html")
def log_days(changelist: ChangeList) -> dict[str, Any]:
    """Links to the days that have a partition, or the way back from a chosen one.

    Django's own tag reads every row to learn which days there are.
    """
    field = str(changelist.date_hierarchy)
    parts = [f"{field}__year", f"{field}__month", f"{field}__day"]
    chosen = [changelist.params[part] for part in parts if part in changelist.params]
    if chosen:
        link = changelist.get_query_string(remove=parts)
        title = "-".join(str(number).zfill(2) for number in chosen)
        return {"show": True, "back": {"link": link, "title": "All days"}, "choices": [{"title": title}]}
    return {
        "show": True,
        "choices": [
            {
                "link": changelist.get_query_string(dict(zip(parts, day.timetuple()[:3], strict=True))),
                "title": day.isoformat(),
            }
            for day in logged_days()
        ],
    }
