"""``manage.py apply_tier_rules``: what the rules of tiers that are on say of today."""

from argparse import ArgumentTypeError
from collections.abc import Iterable
from datetime import date
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from api_manager.models import APIKey
from api_manager.tier_rules import run, suggestions
from api_manager.tier_rules.decision import Finding


class Command(BaseCommand):
    """Prints a table of keys, rules, figures and acts on stdout; how many acts there were goes to stderr.

    The exit code is 1, and nothing was done, while usage is not counted whole or another run is at work.
    """

    help = "Apply the rules that move keys between tiers. Doing it twice on a day does the same once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether only to look, and of which day."""
        parser.add_argument("--dry-run", action="store_true", help="change nothing")
        parser.add_argument("--at", type=_date, help="a day such as 2026-11-23; default: today (UTC)")

    def handle(self, *, dry_run: bool, at: date | None, **_options: Any) -> None:
        """Looks, or does it; what is done stays done when a later key fails."""
        day = at or suggestions.today()
        try:
            if dry_run:
                run.require_counted(day)
                found = run.plan(run.active_rules(), day)
                outcomes = [run.Outcome(each, each.held or _would(each), not each.held) for each in found]
            else:
                outcomes = list(run.apply(day))
        except run.RunError as exc:
            raise CommandError(str(exc)) from exc
        if outcomes:
            self.stdout.write(_table(outcomes), ending="")
        acts = sum(outcome.is_done for outcome in outcomes)
        self.stderr.write(f"{day}: {acts} {'to be done' if dry_run else 'done'}, {len(outcomes)} found.", str)


def _would(finding: Finding) -> str:
    return finding.rule.action_in_words()


def _table(outcomes: Iterable[run.Outcome]) -> str:
    rows = list(outcomes)
    names = APIKey.objects.in_bulk([row.finding.usage.key for row in rows])
    lines = [["key", "tier", "rule", "tokens a day", "share", "denials a day", "act"]]
    for row in rows:
        usage = row.finding.usage
        lines.append(
            [
                f"{usage.key} {names[usage.key].name}",
                usage.tier_name,
                row.finding.rule.name,
                f"{usage.tokens_a_day:,.1f}",
                f"{usage.share_percent:.1f}% of {usage.limit}",
                f"{usage.denials_a_day:,.1f}",
                row.done,
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join((*aligned, ""))


def _date(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no day; expected one such as 2026-11-23") from None
    if day > suggestions.today():
        raise ArgumentTypeError(f"{text} lies ahead")
    return day
