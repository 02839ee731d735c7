"""``manage.py register_api_token``: has the API accept the token with which the admin asks it."""

from typing import Any, Final

from django.conf import settings
from django.core.management import BaseCommand, CommandError
from django.db import IntegrityError

from api_manager import tokens
from api_manager.audit import Actor
from api_manager.models import ManagementToken

NAME: Final = "admin-site"
"""What the audit and the list of tokens call it."""


class Command(BaseCommand):
    """Idempotent: a token that is known is left as it is; a new one takes the place of the one before."""

    help = "Register API_TOKEN as a management token with the scope keys:read, so that the API accepts it."

    def handle(self, **_options: Any) -> None:
        """Registers the token, or says that it is known."""
        if settings.API_TOKEN is None:
            raise CommandError("Set the API_TOKEN environment variable")
        token = ManagementToken(name=NAME, scopes=[ManagementToken.Scope.KEYS_READ])
        try:
            is_new = tokens.adopt(
                settings.API_TOKEN.get_secret_value(), token, Actor.of_command("register_api_token")
            )
        except ValueError as exc:
            raise CommandError(f"API_TOKEN: {exc}") from exc
        except IntegrityError:  # another start-up was faster
            is_new = False
        self.stderr.write(f"API_TOKEN is {'registered' if is_new else 'known'} as {NAME}.", str)
