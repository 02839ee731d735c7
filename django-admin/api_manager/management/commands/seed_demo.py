"""``manage.py seed_demo``: fills an empty database with a realistic site."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from time import monotonic
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError
from django.utils import timezone

from api_manager.demo import load, site
from api_manager.progress import Progress, bar

MOST_KEYS = 200_000
MOST_REQUESTS = 100_000_000


class Command(BaseCommand):
    """All or nothing; everything it says goes to stderr."""

    help = "Fill an empty database with keys nobody can use and thirty days of their requests."

    def add_arguments(self, parser: CommandParser) -> None:
        """How much of it."""
        parser.add_argument(
            "--keys", type=_number(site.LEAST_KEYS, MOST_KEYS), default=5_000, help="default: 5000"
        )
        parser.add_argument(
            "--requests",
            type=_number(0, MOST_REQUESTS),
            default=100_000,
            help="rows of the log; default: 100000",
        )
        parser.add_argument(
            "--newest",
            type=_number(0, MOST_REQUESTS),
            help="of these rows only the newest so many: a site as busy, and younger; default: all",
        )
        parser.add_argument("--seed", type=int, default=1, help="another makes another site; default: 1")
        parser.add_argument("--force", action="store_true", help="also where there are keys: beside them")

    def handle(
        self,
        *,
        keys: int,
        requests: int,
        newest: int | None,
        seed: int,
        force: bool,
        **_options: Any,
    ) -> None:
        """Loads the site, or changes nothing."""
        if newest is not None and newest > requests:
            raise CommandError(f"--newest: expected a number up to that of --requests, {requests}")
        rows = requests if newest is None else newest
        if not force and not load.is_empty():
            raise CommandError(
                "This database has keys already, and a demo site cannot be taken out again."
                " Say --force to put it beside them."
            )
        began = monotonic()
        with Progress(self.stderr, "requests", bar(rows, "rows")) as progress:
            try:
                load.load(keys, requests, seed, timezone.now(), progress, newest)
                load.analyze()
            except (load.DemoError, DatabaseError) as exc:
                raise CommandError(f"Nothing was changed: {exc}") from exc
        seconds = monotonic() - began
        self.stderr.write(
            f"{keys:,} keys and {rows:,} rows of the log in {seconds:,.0f} s"
            f" ({rows / seconds:,.0f} rows/s); {load.bytes_on_disk() / 1e6:,.0f} MB on disk.",
            str,
        )


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"expected a number from {least} to {most}")
        return int(text)

    return number
