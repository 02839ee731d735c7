"""A day's run: what the rules that are on hold of, and what is done about it.

What a run does is a transaction for each key, with its audit event, so that a run that was cut off is
finished by the next one. A second run on the same day finds everything done.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Final

import structlog
from django.db import connection, transaction
from django.utils import timezone

from api_manager import audit, bulk, keys
from api_manager.keys import ConflictError
from api_manager.models import APIKey, AuditEvent, TierRule, TierSuggestion
from api_manager.notices import ruling
from api_manager.pipeline import State as PipelineState
from api_manager.pipeline import copied_until, pipeline

from . import rules, suggestions
from .decision import Action, Finding, find, held, holds
from .suggestions import RULES
from .usage import Usage, midnight, read

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)

LOCK: Final = "hashtext('ratelimiter tier rules')"
"""The advisory lock of the run: one at a time."""

State = TierSuggestion.State


class RunError(Exception):
    """Rules cannot be applied now; nothing was done. The text says why, to an operator."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finding, and what was done: ``suggested``, ``changed``, ``paused``, ``notified``, or why nothing."""

    finding: Finding
    done: str
    is_done: bool


def require_counted(today: date) -> None:
    """Raises ``RunError`` while usage of the days before may still come.

    While the drain stands still, keys look idle that are not; to act on that would be worse than to wait.
    """
    until = copied_until()
    if until is not None and until >= midnight(today):
        return
    if pipeline(timezone.now()).state is not PipelineState.HEALTHY:
        raise RunError(
            f"The usage of the days before {today} may not be counted whole: the drain is behind, or stopped."
            " See the overview's Pipeline. Nothing was done; try again later."
        )


def plan(asked: Iterable[TierRule], today: date) -> list[Finding]:
    """What these rules hold of on a day, and whether they would act; changes nothing."""
    holding: dict[int, list[tuple[TierRule, Usage]]] = {}
    for days, group in groupby(sorted(asked, key=_period), key=_period):
        alike = list(group)
        for usage in read(days, today):
            found = [(rule, usage) for rule in alike if holds(rule, usage)]
            if found:
                holding.setdefault(usage.chain, []).extend(found)
    return find(holding, suggestions.memories(holding))


def active_rules() -> list[TierRule]:
    """The rules that are on."""
    return list(TierRule.objects.filter(is_active=True).select_related("tier", "target_tier"))


def apply(today: date) -> Iterator[Outcome]:
    """Does what the rules that are on say of a day, key by key; yields each outcome as it is there.

    Raises ``RunError``: usage is not counted, or another run is at work.
    """
    with _alone():
        require_counted(today)
        suggestions.sweep()
        for finding in plan(active_rules(), today):
            yield _outcome(finding)


def _outcome(finding: Finding) -> Outcome:
    if finding.held:
        return Outcome(finding, finding.held, is_done=False)
    try:
        return _act(finding.rule, finding.usage, finding)
    except ConflictError as exc:
        return Outcome(finding, str(exc), is_done=False)


@transaction.atomic
def _act(rule: TierRule, usage: Usage, finding: Finding) -> Outcome:
    """Does what a rule says, unless the rule or the key has changed since it was looked at."""
    if not rules.is_on(rule):
        return Outcome(finding, "the rule was switched off meanwhile", is_done=False)
    key = suggestions.locked_key(usage.key)
    if not suggestions.is_as_found(key, usage.tier):
        return Outcome(finding, "changed meanwhile", is_done=False)
    memory = suggestions.memories([usage.chain]).get(usage.chain)
    if memory is not None and (why := held(rule, usage, memory)):
        return Outcome(finding, why, is_done=False)
    done = _carry_out(rule, usage, key)
    suggestions.keep(rule, usage, State.WAITING if rule.action == Action.SUGGEST else State.DONE)
    announce(rule, usage, done)
    return Outcome(finding, done, is_done=True)


def _carry_out(rule: TierRule, usage: Usage, key: APIKey) -> str:
    found = suggestions.figures(rule, usage)
    why = suggestions.reason(found)
    match Action(rule.action), rule.target_tier:
        case Action.SUGGEST, _:
            audit.record(RULES, AuditEvent.Action.SUGGESTED, key, found)
            return "suggested"
        case Action.NOTIFY, _:
            audit.record(RULES, AuditEvent.Action.NOTIFIED, key, found)
            return "notified"
        case Action.CHANGE, target if target is not None:
            bulk.retier([key.pk], target, RULES, why)
            suggestions.overtake(usage.chain)
            return "changed"
        case _:
            keys.pause(key.pk, RULES, why)
            suggestions.overtake(usage.chain)
            return "paused"


def announce(rule: TierRule, usage: Usage, done: str) -> None:
    """A line of the log; and of a rule that notifies a notice, within the deed's transaction.

    What the other rules do to a key has notices of its own.
    """
    log.info("tier_rule_acted", key=usage.key, rule=rule.name, done=done)
    if rule.action == Action.NOTIFY:
        ruling.note(rule.pk, usage.key, usage.today, suggestions.reason(suggestions.figures(rule, usage)))


@contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({LOCK})")
        if not cursor.fetchone()[0]:
            raise RunError("Another run is at work. Nothing was done here.")
        try:
            yield
        finally:
            cursor.execute(f"SELECT pg_advisory_unlock({LOCK})")


def _period(rule: TierRule) -> int:
    return rule.period_days
