"""``manage.py archive_requests``: writes the days of the request log that are over into files."""

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from api_manager import archive
from api_manager.progress import Progress


class Command(BaseCommand):
    """Prints the path of each file it wrote on stdout; everything else goes to stderr."""

    help = "Write each day of the request log that is over, and not archived yet, into a file of its own."

    def add_arguments(self, parser: CommandParser) -> None:
        """Where to, and how far."""
        parser.add_argument("--directory", required=True, type=Path, help="a folder that exists")
        parser.add_argument(
            "--before",
            type=_date,
            help="a day such as 2026-11-20: only the days before it; default: today (UTC)",
        )

    def handle(self, *, directory: Path, before: date | None, **_options: Any) -> None:
        """Writes one day after the other; what is done stays done when a later one fails."""
        if not directory.is_dir():
            raise CommandError(f"--directory: {directory} is no folder")
        today = datetime.now(UTC).date()
        if before is not None and before > today:
            raise CommandError(f"--before: {before} lies ahead; rows of {today} are still to come")
        days = archive.days_to_archive(before or today)
        for number, day in enumerate(days, 1):
            with Progress(self.stderr, f"{day} ({number} of {len(days)})") as progress:
                try:
                    path, note = archive.write(day, directory, progress)
                except (OSError, DatabaseError) as exc:
                    raise CommandError(f"{day} was not archived: {exc}") from exc
            self.stderr.write(f"{day}: {note.rows} rows, SHA-256 {note.sha256}", str)
            self.stdout.write(str(path))
        if not days:
            self.stderr.write("Every day that is over is archived.", str)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day; expected one such as 2026-11-20") from None
