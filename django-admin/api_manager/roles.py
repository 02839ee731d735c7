"""The three groups that people belong to, and what each may do.

``manage.py migrate`` makes them, and gives each what stands here, no more and no less; groups of other names
are left alone. To let a role do more, add the permission here.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog
from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)

_VIEWER: Final = frozenset(
    {
        "api_manager.view_apikey",
        "api_manager.view_tier",
        "api_manager.view_tierrule",
        "api_manager.view_tiersuggestion",
        "api_manager.view_requestlog",
        "api_manager.view_usagehourly",
        "api_manager.view_statement",
        "api_manager.view_auditevent",
        "api_manager.view_managementtoken",
        "api_manager.view_webhook",
        "api_manager.view_delivery",
        "auth.view_user",
        "auth.view_group",
    }
)
_OPERATOR: Final = _VIEWER | {
    "api_manager.add_apikey",
    "api_manager.change_apikey",
    "api_manager.add_tier",
    "api_manager.change_tier",
    "api_manager.delete_tier",
    "api_manager.add_tierrule",
    "api_manager.change_tierrule",
    "api_manager.delete_tierrule",
    "api_manager.change_tiersuggestion",
    "api_manager.export_requestlog",
    "api_manager.add_webhook",
    "api_manager.change_webhook",
}
_OWNER: Final = _OPERATOR | {
    "api_manager.add_managementtoken",
    "api_manager.change_managementtoken",
    "auth.add_user",
    "auth.change_user",
    "auth.delete_user",
    "auth.add_group",
    "auth.change_group",
    "auth.delete_group",
}

ROLES: Final[Mapping[str, frozenset[str]]] = {"Viewer": _VIEWER, "Operator": _OPERATOR, "Owner": _OWNER}
"""A group's name, and its permissions as ``app.codename``."""


def keep(using: str, apps: Apps = installed, **_: Any) -> None:
    """Makes the groups, or brings them back to what stands here. Django's ``post_migrate`` calls it.

    A permission that does not exist is a line of the log: as long as an older migration is the last one.
    """
    labels = sorted({name.partition(".")[0] for name in _OWNER})
    try:
        group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # a database that is migrated only so far has none
        return
    for label in labels:  # Django makes those of an app after this, or did so before
        create_permissions(installed.get_app_config(label), verbosity=0, using=using, apps=apps)
    rows = permission_model.objects.using(using).filter(content_type__app_label__in=labels)
    found = {f"{row.content_type.app_label}.{row.codename}": row for row in rows.select_related()}
    for name, wanted in ROLES.items():
        group, _created = group_model.objects.using(using).get_or_create(name=name)
        group.permissions.set(found[each] for each in sorted(wanted & set(found)))
        if missing := sorted(wanted - set(found)):
            log.warning("permissions_missing", group=name, permissions=missing)
