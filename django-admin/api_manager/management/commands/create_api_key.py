"""``manage.py create_api_key``: issues a key and prints it."""

from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from api_manager import keys
from api_manager.audit import Actor
from api_manager.forms import KeyForm
from api_manager.models import Tier


class Command(BaseCommand):
    """Prints exactly the key and a newline on stdout; everything else goes to stderr."""

    help = "Issue an API key. It is printed on stdout, once; only its digest is stored."

    def add_arguments(self, parser: CommandParser) -> None:
        """The key's properties; what is left out is the tier's."""
        parser.add_argument("--name", required=True, help="what or whom the key is for")
        parser.add_argument("--tier", required=True, help="the name of a tier, such as free")
        parser.add_argument("--owner-email", default="")
        parser.add_argument("--requests-per-hour", help="overrides the tier's rate")
        parser.add_argument("--burst", help="overrides the tier's burst")
        parser.add_argument(
            "--expires-at", help="ISO 8601, such as 2030-01-31T12:00:00Z (UTC without a zone)"
        )
        parser.add_argument(
            "--allowed-cidrs",
            help="from where it may be used, such as '10.0.0.0/8 2001:db8::/32'; default: anywhere",
        )
        parser.add_argument("--note", help="for operators")
        parser.add_argument(
            "--environment", help="the middle word of the key; default: KEY_ENVIRONMENT (live)"
        )

    def handle(self, **options: Any) -> None:
        """Checks what was said as the admin site does, and issues the key."""
        tiers = dict(Tier.objects.values_list("name", "pk"))
        if options["tier"] not in tiers:
            raise CommandError(f"--tier: there is no tier {options['tier']!r}; there are {', '.join(tiers)}")
        form = KeyForm(
            {name: options.get(name) for name in keys.FIELDS}
            | {"is_active": True, "tier": tiers[options["tier"]]}
        )
        if not form.is_valid():
            raise CommandError(
                "; ".join(
                    f"--{field.replace('_', '-')}: {' '.join(map(str, errors))}"
                    for field, errors in form.errors.items()
                )
            )
        try:
            issued = keys.issue(
                form.save(commit=False),
                Actor.of_command("create_api_key"),
                environment=options["environment"],
            )
        except ValueError as exc:
            raise CommandError(f"--environment: {exc}") from exc
        self.stderr.write(f"Issued {issued.key.hint} ({issued.key.name}, {issued.key.tier}).", str)
        self.stderr.write("Keep the key: it is not stored and cannot be shown again.", str)
        self.stdout.write(issued.secret)
