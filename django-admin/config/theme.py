"""What django-unfold, the admin's theme, is told: the name, the navigation by task, the environment."""

from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

NAME: Final = "Rate limiter"


def environment(_request: HttpRequest) -> list[str]:
    """The label in each page's head: which keys are issued here, and in which colour it is said."""
    name: str = settings.KEY_ENVIRONMENT
    return [name, "success" if name == "live" else "warning"]


def _colors(_request: HttpRequest) -> dict[str, Any]:
    # The theme would write them into a style element of each page, which the policy of CSP refuses.
    # They stand in palette.css.
    return {}


def _link(title: str, icon: str, model: str) -> dict[str, Any]:
    """The way to a list, for those who may see it."""
    app_label, model_name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app_label}_{model_name}_changelist"),
        "permission": _may_view(f"{app_label}.view_{model_name}"),
    }


def waiting_suggestions(_request: HttpRequest) -> str:
    """How many suggestions of tier rules wait for an operator; empty if none does."""
    from api_manager.tier_rules import suggestions  # noqa: PLC0415  # settings come before models

    return f"{suggestions.waiting() or ''}"


def _may_view(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


UNFOLD: Final[dict[str, Any]] = {
    "SITE_TITLE": NAME,
    "SITE_HEADER": NAME,
    "SITE_URL": None,  # the site is the admin
    "SITE_ICON": lambda _request: static("api_manager/logo.svg"),
    "COLORS": _colors,
    "ENVIRONMENT": "config.theme.environment",
    "DASHBOARD_CALLBACK": "api_manager.overview.overview",
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("second_factor")},
        ]
    },
    "SIDEBAR": {
        "navigation": [
            {
                "items": [
                    {"title": "Overview", "icon": "monitoring", "link": reverse_lazy("admin:index")},
                    _link("Keys", "key", "api_manager.apikey"),
                    _link("Tiers", "stacks", "api_manager.tier"),
                    _link("Tier rules", "rule", "api_manager.tierrule"),
                    _link("Suggestions", "move_up", "api_manager.tiersuggestion")
                    | {"badge": "config.theme.waiting_suggestions"},
                    _link("Requests", "receipt_long", "api_manager.requestlog"),
                    _link("Usage", "bar_chart", "api_manager.usagehourly"),
                    _link("Statements", "payments", "api_manager.statement"),
                    _link("Audit", "history", "api_manager.auditevent"),
                ]
            },
            {
                "title": "Automation",
                "separator": True,
                "items": [
                    _link("Tokens", "terminal", "api_manager.managementtoken"),
                    _link("Webhooks", "webhook", "api_manager.webhook"),
                    _link("Deliveries", "outbox", "api_manager.delivery"),
                ],
            },
            {
                "title": "People",
                "separator": True,
                "items": [_link("Users", "person", "auth.user"), _link("Groups", "group", "auth.group")],
            },
        ],
    },
}
