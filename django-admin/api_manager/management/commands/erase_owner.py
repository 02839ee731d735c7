"""``manage.py erase_owner``: removes what identifies a person, and keeps the totals."""

import sys
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import DatabaseError

from api_manager import erasure
from api_manager.audit import Actor
from api_manager.progress import Progress


class Command(BaseCommand):
    """Says what it will touch and asks; everything it says goes to stderr, and the address nowhere else."""

    help = "Erase the owner of keys: address, names of keys, clients' addresses in the log. Totals stay."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who, and what may be done without asking."""
        parser.add_argument("email", metavar="EMAIL", help="the owner's address, as it stands on the keys")
        parser.add_argument("--revoke", action="store_true", help="revoke the keys that are not yet")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *, email: str, revoke: bool, yes: bool, **_options: Any) -> None:
        """Erases, or changes nothing; cut off, it is finished by the same call."""
        try:
            validate_email(email)
        except ValidationError as exc:
            raise CommandError(f"EMAIL: {' '.join(exc.messages)}") from exc
        found = erasure.find(email)
        if not found:
            self._say("No key has this owner, and the audit does not name him: there is nothing to erase.")
            return
        self._announce(email, found)
        try:
            if not revoke:
                erasure.require_revoked(found.keys)
        except erasure.ErasureError as exc:
            raise CommandError(str(exc)) from exc
        if not (yes or self._agreed()):
            raise CommandError("Nothing was changed, as you wished.")
        with Progress(self.stderr, "addresses", lambda rows: f"{rows:,} of {found.rows:,} rows") as progress:
            try:
                done = erasure.erase(email, Actor.of_command("erase_owner"), progress, revoke=revoke)
            except (erasure.ErasureError, DatabaseError) as exc:
                raise CommandError(f"Not erased, or not all: {exc}") from exc
        self._say(
            f"Erased: {len(done.keys)} keys, addresses in {done.rows:,} rows, {done.events} events of"
            f" the audit and {done.entries} of the history. Files of backups and archives are as they were."
        )

    def _announce(self, email: str, found: erasure.Found) -> None:
        for key in found.keys:
            self._say(f"  key {key.pk}  {key.hint}  {key.status}  {key.name}")
        self._say(
            f"{len(found.keys)} keys, {found.rows:,} rows of the log with an address, {found.events} events"
            f" of the audit and {found.entries} of the history lose what identifies their owner. Totals stay."
        )
        for user in User.objects.filter(email__iexact=email):
            self._say(f"The operator's account {user.username} has this address, too. It stays as it is.")

    def _agreed(self) -> bool:
        if not sys.stdin.isatty():
            raise CommandError("This is no terminal to ask at: say --yes.")
        self.stderr.write("Erase? It cannot be undone. [y/N] ", str, ending="")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _say(self, text: str) -> None:
        self.stderr.write(text, str)
