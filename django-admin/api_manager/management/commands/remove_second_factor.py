"""``manage.py remove_second_factor``: lets somebody in again who has lost the device, when no owner can."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, CommandParser

from api_manager import second_factor
from api_manager.audit import Actor


class Command(BaseCommand):
    """Takes a user's second factor and backup codes away; the audit says so."""

    help = "Take a user's second factor away: the next login asks for the password alone."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose it is."""
        parser.add_argument("username")

    def handle(self, *, username: str, **_options: Any) -> None:
        """Removes it, or says that there is none. CommandError for a name that nobody has."""
        try:
            user = User.objects.get(username=username)
        except User.DoesNotExist as exc:
            raise CommandError(f"There is no user {username!r}.") from exc
        had = second_factor.remove(user, Actor.of_command("remove_second_factor"))
        self.stderr.write(
            f"The second factor of {username} is removed." if had else f"{username} has no second factor.",
            str,
        )
