"""Django's registration of the app."""

from django.apps import AppConfig


class ApiManagerConfig(AppConfig):
    """Keys, tiers, logs and usage of the rate limiter."""

    name = "api_manager"
    verbose_name = "Rate limiter"
