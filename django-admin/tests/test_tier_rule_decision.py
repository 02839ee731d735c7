"""Hysteresis: whatever the rules and the usage are, no key goes back and forth. No database is asked."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_manager.models import Tier, TierRule
from api_manager.tier_rules.decision import (
    MARGIN,
    Memory,
    Move,
    contradiction,
    find,
    held,
    holds,
)
from api_manager.tier_rules.usage import Usage, midnight

FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)
TIERS = {
    number: Tier(pk=number, name=name, requests_per_hour=rate)
    for number, (name, rate) in enumerate((("free", 1), ("basic", 10), ("plus", 10), ("pro", 25)), 1)
}
DAILY = {number: tier.requests_per_hour * 24 for number, tier in TIERS.items()}


def rule(pk=1, condition="share_at_least", threshold=80, **said) -> TierRule:
    """A rule that changes free to basic unless it says otherwise."""
    fields = {"tier": TIERS[1], "action": "change", "target_tier": TIERS[2], "period_days": 1} | said
    return TierRule(pk=pk, name=f"rule {pk}", condition=condition, threshold=threshold, **fields)


def usage(tier=1, tokens=24, denials=0, requests=None, days=1, today=FIRST, since=None) -> Usage:
    return Usage(
        today=today,
        days=days,
        chain=1,
        key=1,
        tier=tier,
        tier_name=TIERS[tier].name,
        tier_rate=TIERS[tier].requests_per_hour,
        since=since or midnight(today - days * DAY),
        tokens=tokens,
        denials=denials,
        requests=tokens + denials if requests is None else requests,
        share_percent=Decimal(100 * tokens) / (DAILY[tier] * days),
        limit="default",
    )


@pytest.mark.parametrize(
    ("asked", "of", "answer"),
    [
        (rule(threshold=50), usage(tokens=12), True),
        (rule(threshold=50), usage(tokens=11), False),
        (rule(threshold=50), usage(tier=2, tokens=240), False),
        (rule(threshold=50, tier=None), usage(tier=3, tokens=240), True),
        (rule(threshold=50, tier=None), usage(tier=2, tokens=240), False),
        (rule(threshold=50, tier=None), usage(tier=4, tokens=600), False),
        (rule(1, "share_at_most", 5, tier=None), usage(tier=4, tokens=30), True),
        (rule(1, "share_at_most", 5, tier=None), usage(tier=4, tokens=31), False),
        (rule(1, "share_at_most", 5, tier=None), usage(tier=1, tokens=1), False),
        (rule(1, "denials_at_least", 3, period_days=2), usage(days=2, denials=6), True),
        (rule(1, "denials_at_least", 3, period_days=2), usage(days=2, denials=5), False),
        (rule(1, "idle", None, tier=None), usage(tier=4, tokens=0), True),
        (rule(1, "idle", None, tier=None), usage(tier=4, tokens=0, requests=1), False),
        (rule(1, "idle", None, action="deactivate", target_tier=None), usage(tokens=0), True),
        (rule(threshold=50), usage(since=midnight(FIRST - DAY) + timedelta(seconds=1)), False),
    ],
)
def test_a_rule_holds_of_its_keys_where_its_condition_is_true(asked, of, answer):
    assert holds(asked, of) is answer


@pytest.mark.parametrize(
    ("memory", "asked", "why"),
    [
        (Memory(), rule(), ""),
        (Memory(waiting={1}), rule(), "waits for an operator"),
        (Memory(waiting={2}), rule(), ""),
        (Memory(held_until={1: FIRST + DAY}), rule(), "acted or was dismissed; again from 2026-01-02"),
        (Memory(held_until={1: FIRST, 2: FIRST + DAY}), rule(), ""),
        (Memory(Move(0, FIRST + DAY)), rule(), "was moved by a rule; again from 2026-01-02"),
        (Memory(Move(0, FIRST)), rule(), ""),
        (Memory(Move(20, FIRST)), rule(), "uses about as much as when a rule moved it last"),
        (Memory(Move(19, FIRST)), rule(), ""),
        (Memory(Move(0, FIRST + DAY)), rule(action="notify", target_tier=None), ""),
        (
            Memory(Move(30, FIRST)),
            rule(1, "share_at_most"),
            "uses about as much as when a rule moved it last",
        ),
        (Memory(Move(31, FIRST)), rule(1, "share_at_most"), ""),
    ],
)
def test_what_was_done_before_holds_a_rule_back(memory, asked, why):
    assert held(asked, usage(tokens=24), memory) == why


def test_rules_that_contradict_each_other_are_named():
    up = rule(1, threshold=80)
    back = {"tier": TIERS[2], "target_tier": TIERS[1]}
    # 80% of 1 an hour is 8% of 10; less a fifth of it 6.4%.
    assert Decimal("0.2") == MARGIN
    for down in (rule(2, "share_at_most", 7, **back), rule(2, "share_at_most", 50, **back | {"tier": None})):
        for first, second in ((up, down), (down, up)):
            said = contradiction(first, [second])
            assert "“rule 1” moves a key from free up to basic at 80% of 1 an hour" in said
            assert "“rule 2” moves it back at" in said
            assert said.endswith("Let “rule 2” ask for 6% at most.")
    assert contradiction(rule(1, threshold=80, tier=None), [rule(2, "share_at_most", 7, **back)])
    for harmless in (
        rule(2, "share_at_most", 6, **back),
        rule(2, "share_at_most", 50, tier=TIERS[3], target_tier=TIERS[1]),
        rule(2, "share_at_most", 50, tier=TIERS[4], target_tier=TIERS[2]),
        rule(2, "idle", None, **back),
        rule(2, "share_at_most", 50, action="notify", tier=TIERS[2], target_tier=None),
        rule(2, threshold=1),
    ):
        assert contradiction(up, [harmless]) == contradiction(harmless, [up]) == ""


@dataclass
class Key:
    """A key under rules, day by day, as a run sees and leaves it."""

    tier: int
    since: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    memory: Memory = field(default_factory=Memory)
    moves: list[tuple[date, int, int, int]] = field(default_factory=list)
    """When, whence, whither, and the cool-down of the rule."""
    tokens: list[int] = field(default_factory=list)
    denials: list[int] = field(default_factory=list)

    def live(self, tokens: int, denials: int) -> date:
        """A day passes; the one after it."""
        self.tokens.append(tokens)
        self.denials.append(denials)
        return FIRST + len(self.tokens) * DAY

    def usage(self, days: int, today: date) -> Usage:
        tokens, denials = self.tokens[-days:], self.denials[-days:]
        return usage(self.tier, sum(tokens), sum(denials), None, days, today, self.since)

    def run(self, rules: list[TierRule], today: date, *, accepts: bool) -> None:
        """What a run does; an operator who accepts does it at once."""
        known = [each for each in rules if len(self.tokens) >= each.period_days]
        seen = [(each, self.usage(each.period_days, today)) for each in known]
        for found in find({1: [pair for pair in seen if holds(*pair)]}, {1: self.memory}):
            waits = found.rule.action == "suggest" and not accepts
            if found.held or found.rule.target_tier is None or waits:
                continue
            target, until = found.rule.target_tier.pk, today + found.rule.cooldown_days * DAY
            self.moves.append((today, self.tier, target, found.rule.cooldown_days))
            self.tier, self.since = target, midnight(today) + timedelta(hours=1)
            self.memory.move = Move(found.usage.tokens_a_day, until)
            self.memory.held_until[found.rule.pk] = until


@st.composite
def any_rules(draw) -> list[TierRule]:
    """Any rules that can be saved, also those that contradict each other."""
    rules = []
    for pk in range(1, draw(st.integers(1, 6)) + 1):
        condition = draw(st.sampled_from(list(TierRule.Condition)))
        lowest = 0 if condition == "share_at_most" else 1
        tier, target = draw(st.permutations(list(TIERS.values())))[:2]
        action = draw(st.sampled_from(["change", "change", "suggest", "notify"]))
        rules.append(
            rule(
                pk,
                condition,
                None if condition == "idle" else draw(st.integers(lowest, 99)),
                tier=draw(st.sampled_from([tier, None])),
                target_tier=None if action == "notify" else target,
                action=action,
                period_days=draw(st.integers(1, 5)),
                cooldown_days=draw(st.integers(1, 8)),
                position=draw(st.integers(0, 2)),
            )
        )
    return rules


AMOUNTS = st.integers(0, 700)
ACCEPTS = st.booleans()
FROM = st.sampled_from(list(TIERS))


@settings(deadline=None)
@given(any_rules(), FROM, st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=5, max_size=30), ACCEPTS)
def test_no_key_changes_its_tier_twice_within_the_cool_down(rules, tier, series, accepts):
    key = Key(tier)
    for tokens, denials in series:
        today = key.live(tokens, denials)
        for _ in range(2):
            before = len(key.moves)
            key.run(rules, today, accepts=accepts)
        assert len(key.moves) == before, "a second run on the day did something"
    for (day, *_, cooldown), (after, *_) in zip(key.moves, key.moves[1:], strict=False):
        assert after - day >= cooldown * DAY


@settings(deadline=None)
@given(any_rules(), FROM, AMOUNTS, AMOUNTS, ACCEPTS)
def test_with_constant_usage_a_key_changes_its_tier_once_at_most(rules, tier, tokens, denials, accepts):
    key = Key(tier)
    for _ in range(40):
        key.run(rules, key.live(tokens, denials), accepts=accepts)
    assert len(key.moves) <= 1


@settings(deadline=None)
@given(any_rules(), FROM, AMOUNTS, ACCEPTS)
def test_with_constant_demand_a_key_never_turns_back(rules, tier, demand, accepts):
    # What is admitted of a demand grows with the rate: a move up may lead to another, but to none down.
    key = Key(tier)
    for _ in range(40):
        admitted = min(demand, DAILY[key.tier])
        key.run(rules, key.live(admitted, demand - admitted), accepts=accepts)
    ways = {(rate(after) > rate(before)) - (rate(after) < rate(before)) for _, before, after, _ in key.moves}
    assert not {-1, 1} <= ways


def rate(tier: int) -> int:
    return TIERS[tier].requests_per_hour
