"""Django's registration of the app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ApiManagerConfig(AppConfig):
    """Keys, tiers, logs and usage of the rate limiter."""

    name = "api_manager"
    verbose_name = "Rate limiter"

    def ready(self) -> None:
        """Has the groups kept, and logins audited."""
        from . import logins, roles  # noqa: F401, PLC0415  # they need the models

        post_migrate.connect(roles.keep, sender=self)
