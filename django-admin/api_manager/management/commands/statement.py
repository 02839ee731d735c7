"""``manage.py statement``: what each owner owes for a month."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management import BaseCommand, CommandParser
from django.utils import timezone

from api_manager import audit, statement
from api_manager.audit import Actor
from api_manager.statement import Month
from api_manager.statement_formats import FORMATS, export_detail


class Command(BaseCommand):
    """Prints the statements on stdout; whether the month is final also goes to stderr."""

    help = "Draw the statements of a month, of all owners or of one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which month, whose, and how it is written."""
        parser.add_argument("--month", required=True, type=_month, help="such as 2026-10 (UTC)")
        parser.add_argument("--owner", help="an address; '' for keys without an owner; default: all")
        parser.add_argument("--format", choices=tuple(FORMATS), default="table", help="default: table")

    def handle(self, *, month: Month, owner: str | None, format: str, **_options: Any) -> None:  # noqa: A002  # as it is said
        """Draws them; a file of them is written into the audit."""
        is_final = statement.is_final(month)
        statements = statement.draw(month, owner)
        self.stdout.write(FORMATS[format](month, statements, is_final=is_final), ending="")
        if format != "table":
            audit.record_export(Actor.of_command("statement"), export_detail(month, owner, format))
        if not is_final:
            self.stderr.write(
                f"{month} is preliminary: no request of a later month has been copied from Redis yet.", str
            )


def _month(text: str) -> Month:
    try:
        month = Month.parse(text)
    except ValueError as exc:
        raise ArgumentTypeError(str(exc)) from exc
    if month.start > timezone.now():
        raise ArgumentTypeError(f"{text} lies ahead")
    return month
