"""``manage.py load_archive``: brings an archived day of the request log back."""

from argparse import ArgumentTypeError
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from api_manager import archive
from api_manager.progress import Progress

KEEP_DAYS: Final = 7


class Command(BaseCommand):
    """The rows are where they were, under the numbers they had; ``usage_hourly`` has them still."""

    help = "Load a file of archive_requests back into the request log, for some days."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, and for how long."""
        parser.add_argument("file", type=Path, help="such as request_log-2026-11-20.csv.gz")
        parser.add_argument(
            "--keep-days",
            type=_days,
            default=KEEP_DAYS,
            help=f"days for which retention leaves the rows alone; default: {KEEP_DAYS}",
        )

    def handle(self, *, file: Path, keep_days: int, **_options: Any) -> None:
        """Loads the file, or changes nothing."""
        with Progress(self.stderr, file.name) as progress:
            try:
                note = archive.load(file, timedelta(days=keep_days), progress)
            except (archive.ArchiveError, OSError, DatabaseError) as exc:
                raise CommandError(str(exc)) from exc
        self.stderr.write(
            f"{note.day}: {note.rows} rows are back, until {note.kept_until:%Y-%m-%d %H:%M} UTC"
            " or as long as REQUEST_LOG_RETENTION_DAYS keeps them.",
            str,
        )


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3650:  # noqa: PLR2004  # ten years, as for retention
        raise ArgumentTypeError("expected a number of days from 1 to 3650")
    return int(text)
