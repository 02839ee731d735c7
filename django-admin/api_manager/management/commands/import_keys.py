"""``manage.py import_keys``: brings in the keys of another system, by their digests."""

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any, Final

from django.core.management import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from api_manager import progress
from api_manager.audit import Actor
from api_manager.importing import formats, load
from api_manager.importing.forms import FormatForm
from api_manager.importing.lines import COLUMNS, REQUIRED
from api_manager.models import ForeignFormat

_OPTIONS: Final = {
    "prefix": "--prefix",
    "min_length": "--length",
    "max_length": "--length",
    "alphabet": "--alphabet",
}


class Command(BaseCommand):
    """Imports all keys of a file or none; everything it says goes to stderr."""

    help = "Import the keys of another system from a CSV file of their SHA-256 digests."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file, and what its keys look like."""
        optional = ", ".join(name for name in COLUMNS[1:] if name not in REQUIRED)
        parser.add_argument(
            "file",
            type=Path,
            help="CSV in UTF-8; its first line names the columns:"
            f" {', '.join(REQUIRED)}, and where you want them {optional}",
        )
        parser.add_argument(
            "--prefix", required=True, help="what the keys begin with, such as sk_live_, or ''"
        )
        parser.add_argument(
            "--length",
            required=True,
            type=_length,
            help="characters of a whole key, such as 32 or 32-40",
        )
        parser.add_argument(
            "--alphabet",
            default=ForeignFormat.Alphabet.BASE62.value,
            help=f"what follows the prefix: {', '.join(ForeignFormat.Alphabet.values)}; default: base62",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="check every line and count; change nothing"
        )

    def handle(self, *, file: Path, length: tuple[int, int], dry_run: bool, **options: Any) -> None:
        """Checks every line first; says all that is wrong, or imports."""
        said = {"min_length": length[0], "max_length": length[1]}
        form = FormatForm(said | {name: options[name] for name in ("prefix", "alphabet")})
        if not form.is_valid():
            errors = form.errors.items()
            raise CommandError(
                "; ".join(f"{_OPTIONS[name]}: {' '.join(map(str, why))}" for name, why in errors)
            )
        try:
            report = self._load(file, form.stated, dry_run=dry_run)
        except (OSError, DatabaseError, load.ImportRunsError, formats.TooManyFormatsError) as exc:
            raise CommandError(f"Nothing was imported: {exc}") from exc
        if report.errors.count:
            for error in report.errors.first:
                self._say(str(error))
            more = report.errors.count - len(report.errors.first)
            raise CommandError(
                f"{report.errors.count:,} errors{f', of which {more:,} are not shown' if more else ''}."
                " Nothing was imported."
            )
        self._tell(report, dry_run=dry_run)

    def _load(self, path: Path, format_: ForeignFormat, *, dry_run: bool) -> load.Report:
        actor = Actor.of_command("import_keys")
        with path.open("rb") as file:
            show = progress.bar(path.stat().st_size, "bytes")
            with progress.Progress(self.stderr, path.name, show) as tell:
                return load.load(load.Source(path.name, file), format_, actor, tell, dry_run=dry_run)

    def _tell(self, report: load.Report, *, dry_run: bool) -> None:
        tiers = ", ".join(f"{name} {new:,}" for name, new, _ in report.tiers if new)
        if report.new:
            self._say(f"{'To import' if dry_run else 'Imported'}: {report.new:,} keys ({tiers}).")
        if report.known:
            self._say(f"Here already, and left as they are: {report.known:,} keys.")
        if report.is_format_new:
            self._say(
                "The format of the keys is new; the API knows it at once."
                if not dry_run
                else "The format is new."
            )
        if dry_run:
            self._say("Nothing was changed: this was a dry run.")
        elif not (report.new or report.is_format_new):
            self._say("Nothing was changed.")

    def _say(self, text: str) -> None:
        self.stderr.write(text, str)


def _length(text: str) -> tuple[int, int]:
    shortest, dash, longest = text.partition("-")
    if not (shortest.isdecimal() and (longest.isdecimal() or not dash)):
        raise ArgumentTypeError("expected a number of characters such as 32, or two such as 32-40")
    return int(shortest), int(longest or shortest)
