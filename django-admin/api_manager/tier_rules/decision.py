"""What a rule makes of a key's usage; pure, so that properties of any rules over any usage can be tested."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from api_manager.models import TierRule

from .usage import Usage

MARGIN: Final = Decimal("0.2")
"""By which part usage must differ from that of a key's last move for a rule to move it again."""

Condition = TierRule.Condition
Action = TierRule.Action


@dataclass(frozen=True, slots=True)
class Move:
    """That a rule moved a key."""

    tokens_a_day: float
    """What it used then."""
    held_until: date


@dataclass(slots=True)
class Memory:
    """What is known of a key from earlier days."""

    move: Move | None = None
    """The last one."""
    waiting: set[int] = field(default_factory=set)
    """The rules with a suggestion that waits."""
    held_until: dict[int, date] = field(default_factory=dict)
    """The rules that acted, or were dismissed, and until when they do not act again."""


@dataclass(frozen=True, slots=True)
class Finding:
    """That a rule holds of a key; ``held`` says why nothing is done all the same, and is empty else."""

    rule: TierRule
    usage: Usage
    held: str


def holds(rule: TierRule, usage: Usage) -> bool:
    """Whether a rule applies to a key, and its condition is true."""
    if not usage.is_whole or (rule.tier_id is not None and rule.tier_id != usage.tier):
        return False
    if rule.target_tier is not None:
        rate, way = rule.target_tier.requests_per_hour, 1 if rule.is_upward else -1
        if rule.target_tier_id == usage.tier or (rate - usage.tier_rate) * way < 0:
            return False
    match Condition(rule.condition):
        case Condition.SHARE_AT_LEAST:
            return usage.share_percent >= _threshold(rule)
        case Condition.SHARE_AT_MOST:
            return usage.share_percent <= _threshold(rule)
        case Condition.DENIALS_AT_LEAST:
            return usage.denials >= _threshold(rule) * usage.days
        case Condition.IDLE:
            return usage.requests == 0


def held(rule: TierRule, usage: Usage, memory: Memory) -> str:
    """Why a rule that holds does nothing today; empty if it acts."""
    if rule.pk in memory.waiting:
        return "waits for an operator"
    until = memory.held_until.get(rule.pk)
    if until is not None and usage.today < until:
        return f"acted or was dismissed; again from {until}"
    if rule.moves and memory.move is not None:
        if usage.today < memory.move.held_until:
            return f"was moved by a rule; again from {memory.move.held_until}"
        if not _differs(usage.tokens_a_day, memory.move.tokens_a_day, is_upward=rule.is_upward):
            return "uses about as much as when a rule moved it last"
    return ""


def find(
    holding: Mapping[int, Sequence[tuple[TierRule, Usage]]], memories: Mapping[int, Memory]
) -> list[Finding]:
    """What counts of the rules that hold of each chain: those that notify, then the first of the others."""
    findings = []
    for chain, found in sorted(holding.items()):
        memory = memories.get(chain, Memory())
        ordered = sorted(found, key=lambda each: (each[0].position, each[0].pk))
        notices = [each for each in ordered if each[0].action == Action.NOTIFY]
        others = [each for each in ordered if each[0].action != Action.NOTIFY]
        findings += [Finding(rule, usage, held(rule, usage, memory)) for rule, usage in notices + others[:1]]
    return findings


def contradiction(rule: TierRule, others: Iterable[TierRule]) -> str:
    """Which of the others would move a key back that this rule moves, in words; empty if none would.

    Compared are shares: at the rates of both tiers, the usage at which the one moves a key down must be below
    that at which the other moves it up, by ``MARGIN``.
    """
    for other in others:
        up, down = (rule, other) if rule.is_upward else (other, rule)
        if up.condition != Condition.SHARE_AT_LEAST or down.condition != Condition.SHARE_AT_MOST:
            continue
        if up.target_tier is None or down.target_tier is None:
            continue
        if not (_meets(up.tier_id, down.target_tier_id) and _meets(down.tier_id, up.target_tier_id)):
            continue
        lower, upper = down.target_tier.requests_per_hour, up.target_tier.requests_per_hour
        highest = _threshold(up) * lower * (1 - MARGIN) / upper
        if _threshold(down) > highest:
            return (
                f"“{up}” moves a key from {down.target_tier} up to {up.target_tier} at {up.threshold}% of "
                f"{lower:,} an hour, and “{down}” moves it back at {down.threshold}% of {upper:,}: "
                f"it would go back and forth. Let “{down}” ask for {int(highest)}% at most."
            )
    return ""


def _meets(tier_id: int | None, other_id: int | None) -> bool:
    """Whether a rule for a tier, or for all, asks of the keys that another moves to one."""
    return tier_id is None or tier_id == other_id


def _threshold(rule: TierRule) -> Decimal:
    return Decimal(rule.threshold or 0)


def _differs(tokens: float, then: float, *, is_upward: bool) -> bool:
    margin = float(MARGIN) * then
    return tokens > then + margin if is_upward else tokens < then - margin
