"""``manage.py what_if``: what other limits would have done to the requests of a time."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import Any, Final

from django.core.management import BaseCommand, CommandError, CommandParser

from api_manager.chain import chain
from api_manager.models import APIKey, Tier
from api_manager.progress import Progress, bar
from api_manager.what_if import question
from api_manager.what_if.formats import FORMATS
from api_manager.what_if.question import QuestionForm
from api_manager.what_if.replay import hours, replay

_OPTIONS: Final = {
    "requests_per_hour": "--requests-per-hour",
    "burst": "--burst",
    "limits": "--limit",
    "since": "--since",
    "until": "--until",
}


class Command(BaseCommand):
    """Prints the answer on stdout, and how far it is on stderr. Nothing is changed."""

    help = "Decide the logged requests of a tier or key once more, under other limits."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose, under which limits, from when to when."""
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--tier", type=_tier, help="the name of a tier")
        whose.add_argument(
            "--key", type=_key, help="the number of a key, which stands for its rotations, too"
        )
        parser.add_argument("--requests-per-hour", type=int, help="default: as it is now")
        parser.add_argument("--burst", type=int, help="default: as it is now")
        parser.add_argument(
            "--limit",
            action="append",
            default=[],
            help=f"{question.SYNTAX}, such as second:10/1:20 or monthly:100000/month; it takes the place"
            " of the one of this name. May be repeated; the others stay as they are",
        )
        parser.add_argument(
            "--without",
            action="append",
            default=[],
            metavar="NAME",
            help="leave a limit out; may be repeated",
        )
        parser.add_argument(
            "--since", type=_moment, help="such as 2026-11-20T10:00 (UTC); default: a day before the end"
        )
        parser.add_argument("--until", type=_moment, help="default: now")
        parser.add_argument("--format", choices=tuple(FORMATS), default="table", help="default: table")

    def handle(self, *, tier: Tier | None, key: APIKey | None, format: str, **options: Any) -> None:  # noqa: A002  # as it is said
        """Asks, and prints what it was told."""
        tier = key.tier if key else tier
        if tier is None:
            raise CommandError("Say --tier or --key.")
        form = QuestionForm(_said(tier, key, options), tier, key)
        if not form.is_valid():
            raise CommandError(
                "; ".join(f"{_OPTIONS[name]}: {' '.join(map(str, why))}" for name, why in form.errors.items())
            )
        asked = form.question
        with Progress(self.stderr, f"{key or tier}", bar(hours(asked.span), "hours")) as tell:
            result = replay(asked, tell)
        self.stdout.write(FORMATS[format](asked, result), ending="")


def _said(tier: Tier, key: APIKey | None, options: dict[str, Any]) -> dict[str, Any]:
    """What the form would have been sent: what is now, and what was said instead."""
    said = question.present(tier, key)
    names = {question.name_of(line) for line in said["limits"].splitlines()}
    for name in options["without"]:
        if name not in names:
            has = ", ".join(sorted(names)) or "none"
            raise CommandError(f"--without: there is no limit {name!r}; there are: {has}")
    said["limits"] = "\n".join(
        line
        for line in question.with_limits(said["limits"], options["limit"]).splitlines()
        if question.name_of(line) not in options["without"]
    )
    said |= {name: options[name] for name in ("requests_per_hour", "burst") if options[name] is not None}
    return said | {name: options[name] for name in ("since", "until")}


def _tier(name: str) -> Tier:
    found = Tier.objects.filter(name=name).first()
    if found is None:
        names = ", ".join(Tier.objects.values_list("name", flat=True))
        raise ArgumentTypeError(f"there is no tier {name!r}; there are: {names}")
    return found


def _key(number: str) -> APIKey:
    """The newest key of the chain, whose limits hold for all of it."""
    is_number = number.isascii() and number.isdecimal()
    key = APIKey.objects.filter(pk=int(number)).first() if is_number else None
    if key is None:
        raise ArgumentTypeError(f"there is no key with the number {number[:20]!r}")
    return chain(key).newest


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time; expected one such as 2026-11-20T10:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
