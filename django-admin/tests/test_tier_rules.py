"""Rules over real usage: what a run does, what it leaves alone, and that doing it twice does it once."""

import io
import logging
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import psycopg2
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from api_manager import keys
from api_manager.audit import Actor
from api_manager.models import (
    APIKey,
    AuditEvent,
    Delivery,
    DrainCursor,
    KeyLimit,
    KeyTerms,
    Notice,
    Tier,
    TierLimit,
    TierRule,
    TierSuggestion,
    UsageDaily,
    UsageHourly,
    Webhook,
)
from api_manager.tier_rules import rules, run, suggestions
from api_manager.tier_rules.usage import Usage, midnight, read

TODAY = date(2026, 11, 23)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ACTOR = Actor("admin:ada")
DAY = timedelta(days=1)


@pytest.fixture
def counted(db):
    """A drain that has copied all."""
    now = timezone.now()
    DrainCursor.objects.create(
        shard=0, epoch="one", last_id=f"{now.timestamp() * 1000:.0f}-0", updated_at=now
    )


@pytest.fixture
def make(issue):
    """Issue a key that has had its tier for long."""

    def make(name: str = "shop", tier: str = "free", **fields) -> APIKey:
        key = issue(name, tier, **fields).key
        KeyTerms.objects.update(valid_from=LONG_AGO)
        return key

    return make


def rule(
    name: str = "up", condition: str = "share_at_least", threshold: int | None = 80, **fields
) -> TierRule:
    """A rule that is on; it suggests the tier basic to keys of free unless it says otherwise."""
    tiers = {tier.name: tier for tier in Tier.objects.all()}
    said = {"tier": "free", "action": "suggest", "target_tier": "basic", "period_days": 10, "is_active": True}
    said |= fields
    for field in ("tier", "target_tier"):
        said[field] = tiers.get(said[field])
    return TierRule.objects.create(name=name, condition=condition, threshold=threshold, **said)


def use(key: APIKey, cost: int, limited: int = 0, days: int = 40, until: date = TODAY) -> None:
    """The same each day before one."""
    UsageDaily.objects.bulk_create(
        UsageDaily(day=until - number * DAY, api_key=key, allowed=cost, limited=limited, cost=cost)
        for number in range(1, days + 1)
    )


def usage(days: int = 10, today: date = TODAY) -> dict[str, Usage]:
    names = dict(APIKey.objects.values_list("pk", "name"))
    return {names[each.key]: each for each in read(days, today)}


def applied(today: date = TODAY) -> list[tuple[str, str]]:
    """The keys and what was done, of a run."""
    names = dict(APIKey.objects.values_list("pk", "name"))
    return [(names[outcome.finding.usage.key], outcome.done) for outcome in run.apply(today)]


def command(*arguments: str) -> tuple[str, str]:
    call_command("apply_tier_rules", *arguments, stdout=(out := io.StringIO()), stderr=(err := io.StringIO()))
    return out.getvalue(), err.getvalue()


def test_usage_is_that_of_the_whole_days_before_and_of_a_chain_as_one_key(make):
    key = make()
    use(key, 1200, 30)
    UsageDaily.objects.create(day=TODAY, api_key=key, allowed=99, limited=9, cost=99)
    new = keys.rotate(key.pk, timedelta(hours=1), ACTOR).key
    use(new, 600)
    make("idle")
    found = usage()
    shop = found["shop"]
    assert (shop.chain, shop.key, shop.tokens, shop.denials) == (key.pk, new.pk, 18_000, 300)
    assert (shop.requests, float(shop.share_percent), shop.limit) == (18_408, 75.0, "default")
    assert (found["idle"].tokens, found["idle"].requests, found["idle"].share_percent) == (0, 0, 0)
    assert float(usage(1)["shop"].share_percent) == 75.0


def test_the_share_is_the_highest_of_rate_and_quotas_that_deny(make):
    own, plain, slow = make("own"), make("plain"), make("slow", requests_per_hour=50)
    free = own.tier
    TierLimit.objects.create(tier=free, name="monthly", requests=3000, period="month")
    TierLimit.objects.create(tier=free, name="daily", requests=400, period="day")
    TierLimit.objects.create(
        tier=free, name="exports", requests=20, period="day", endpoint_prefix="/v1/export"
    )
    TierLimit.objects.create(tier=free, name="shadow", requests=1, period="day", is_shadow=True)
    TierLimit.objects.create(tier=free, name="second", requests=1, window_seconds=1)
    KeyLimit.objects.create(api_key=own, name="daily", requests=1000)
    KeyLimit.objects.create(api_key=own, name="monthly", requests=30_000)
    for key in (own, plain, slow):
        use(key, 100)
    shares = {name: (round(float(each.share_percent), 3), each.limit) for name, each in usage().items()}
    # The period is of November, which has 30 days: 100 a day of 3000 a month.
    assert shares == {"own": (10.0, "daily"), "plain": (100.0, "monthly"), "slow": (100.0, "monthly")}
    for endpoint, cost in (("/v1/export/a", 30), ("/v1/exports", 20), ("/v1/orders", 50)):
        for number in range(10):
            UsageHourly.objects.create(
                api_key=own,
                hour=midnight(TODAY) - (number + 1) * DAY,
                endpoint=endpoint,
                allowed=1,
                cost=cost,
            )
    assert (float(usage()["own"].share_percent), usage()["own"].limit) == (250.0, "exports")
    TierLimit.objects.all().delete()
    assert {name: round(float(each.share_percent), 2) for name, each in usage().items()} == {
        "own": 4.17,
        "plain": 4.17,
        "slow": 8.33,
    }
    # Of a period over two months each day is a part of its own: 9 days of October, 1 of November.
    TierLimit.objects.create(tier=free, name="monthly", requests=3000, period="month")
    share = usage(10, date(2026, 11, 2))["plain"].share_percent
    assert float(share) == pytest.approx(100 * 1000 / (3000 * (9 / 31 + 1 / 30)))


def test_rules_ask_of_usable_keys_that_had_their_tier_for_the_whole_period(make):
    names = ("usable", "paused", "revoked", "expired", "exempt", "moved", "new")
    made = {name: make(name) for name in names}
    keys.pause(made["paused"].pk, ACTOR)
    keys.revoke(made["revoked"].pk, ACTOR)
    APIKey.objects.filter(name="expired").update(expires_at=midnight(TODAY))
    APIKey.objects.filter(name="exempt").update(is_exempt=True)
    KeyTerms.objects.update(valid_from=LONG_AGO)
    start = midnight(TODAY) - 10 * DAY
    for name, tiers in (("moved", ("pro", "free")), ("new", ())):
        for number, tier in enumerate(tiers, 1):
            APIKey.objects.filter(name=name).update(tier=Tier.objects.get(name=tier))
            newest = KeyTerms.objects.latest("pk").pk
            KeyTerms.objects.filter(pk=newest).update(valid_from=start - (2 - number) * DAY + DAY / 2)
    KeyTerms.objects.filter(chain=made["new"]).update(valid_from=start)
    found = usage()
    assert {name: each.is_whole for name, each in found.items()} == {
        "usable": True,
        "moved": False,
        "new": True,
    }
    assert usage(9)["moved"].is_whole


def test_a_key_that_is_activated_again_is_left_alone_for_a_period(make, counted):
    """While it was paused nobody could use it; else the next run would pause it once more."""
    rule("quiet", "idle", None, action="deactivate", target_tier=None)
    long, short = make("long"), make("short")
    for key, ago in ((long, 11), (short, 9)):
        keys.pause(key.pk, ACTOR)
        keys.activate(key.pk, ACTOR)
        AuditEvent.objects.filter(target_id=key.pk).update(timestamp=midnight(TODAY) - ago * DAY)
    keys.rotate(short.pk, timedelta(hours=1), ACTOR)
    assert applied() == [("long", "paused")]
    assert applied(TODAY + 2 * DAY) == [("short", "paused")]


def test_a_suggestion_waits_with_its_figures_and_is_made_once(make, counted):
    rule("up", "share_at_least", 75)
    rule("never", threshold=76, position=1)
    key = make()
    use(key, 1800, 20, until=TODAY + DAY)
    out, err = command("--at", str(TODAY), "--dry-run")
    title, line = out.splitlines()
    assert title.split("  ")[0] == "key"
    assert line.index("free") == title.index("tier")
    assert line.split() == f"{key.pk} shop free up 1,800.0 75.0% of default 20.0 suggest basic".split()
    assert err == "2026-11-23: 1 to be done, 1 found.\n"
    assert not TierSuggestion.objects.exists()
    assert "suggested\n" in command("--at", str(TODAY))[0]
    waiting = TierSuggestion.objects.get()
    assert (waiting.chain_id, waiting.state, waiting.held_until) == (key.pk, "waiting", None)
    assert waiting.figures == {
        "rule": "up",
        "tier": "free",
        "target": "basic",
        "period": "2026-11-13 to 2026-11-22",
        "tokens_a_day": 1800.0,
        "share_percent": 75.0,
        "limit": "default",
        "denials_a_day": 20.0,
    }
    event = AuditEvent.objects.get(action="suggested")
    assert (event.actor, event.target_id, event.detail) == ("rules", key.pk, waiting.figures)
    assert applied() == applied(TODAY + DAY) == [("shop", "waits for an operator")]
    assert AuditEvent.objects.filter(actor="rules").count() == TierSuggestion.objects.count() == 1


def test_every_action_is_done_once_and_written_down(make, counted, caplog):
    caplog.set_level(logging.INFO)
    rule("quiet", "idle", None, tier=None, action="deactivate", target_tier=None)
    rule("busy", "denials_at_least", 5, action="change", cooldown_days=7)
    rule("told", "denials_at_least", 1, tier=None, action="notify", target_tier=None, position=1)
    busy, idle, calm, today = make("busy"), make("idle", "pro"), make("calm"), make("today")
    use(busy, 100, 5)
    use(calm, 100, 1, days=9)
    UsageDaily.objects.create(day=TODAY, api_key=today, allowed=1, cost=1)
    assert applied() == [("busy", "notified"), ("busy", "changed"), ("idle", "paused")]
    busy.refresh_from_db()
    idle.refresh_from_db()
    assert (busy.tier.name, idle.is_active) == ("basic", False)
    detail = {
        name: AuditEvent.objects.get(actor="rules", action=name).detail for name in ("updated", "paused")
    }
    assert detail["updated"]["changed"] == {"tier": ["free", "basic"]}
    assert (detail["updated"]["rule"], detail["updated"]["denials_a_day"]) == ("busy", 5.0)
    assert detail["paused"]["changed"] == {"is_active": [True, False]}
    assert (detail["paused"]["rule"], detail["paused"]["period"]) == ("quiet", "2026-11-13 to 2026-11-22")
    assert sorted(TierSuggestion.objects.values_list("state", "held_until")) == [
        ("done", TODAY + 7 * DAY),
        ("done", TODAY + 30 * DAY),
        ("done", TODAY + 30 * DAY),
    ]
    assert caplog.text.count("tier_rule_acted") == 3
    written = AuditEvent.objects.count()
    assert applied() == []  # they have another tier now, or are paused
    KeyTerms.objects.update(valid_from=LONG_AGO)
    assert {done for _, done in applied()} == {f"acted or was dismissed; again from {TODAY + 30 * DAY}"}
    assert AuditEvent.objects.count() == written
    keys.activate(idle.pk, ACTOR)
    AuditEvent.objects.filter(action="activated").update(timestamp=LONG_AGO)
    assert ("idle", f"acted or was dismissed; again from {TODAY + 30 * DAY}") in applied()


def test_a_rule_that_notifies_tells_webhooks_once_in_its_cool_down(make, counted):
    said = {"action": "notify", "target_tier": None, "cooldown_days": 3}
    told = rule("Busy", "denials_at_least", 5, **said)
    key = make()
    use(key, 1800, 20, until=TODAY + 9 * DAY)
    hook = Webhook.objects.create(name="told", url="https://example.com/", kinds=["key.rule"])
    Webhook.objects.create(name="else", url="https://example.com/", kinds=["key.retiered"])
    days = [day for day in range(8) if applied(TODAY + day * DAY) == [("shop", "notified")]]
    assert days == [0, 3, 6]
    applied(TODAY + 6 * DAY)
    assert [each.webhook for each in Delivery.objects.all()] == [hook] * 3
    notice = Notice.objects.earliest("pk")
    assert (notice.kind, notice.api_key) == ("key.rule", key)
    assert notice.data == {
        "key": {"id": key.pk, "hint": key.hint, "tier": "free"},
        "rule": "Busy",
        "period": "2026-11-13 to 2026-11-22",
        "tokens_a_day": 1800.0,
        "share_percent": 75.0,
        "limit": "default",
        "denials_a_day": 20.0,
    }
    # What nobody wants to hear of is not written, and the rule is silent all the same.
    Webhook.objects.filter(pk=hook.pk).update(is_active=False)
    TierSuggestion.objects.filter(rule=told).update(held_until=TODAY)
    assert applied(TODAY + 8 * DAY) == [("shop", "notified")]
    assert Notice.objects.count() == 3


def test_the_rule_of_the_lowest_position_counts_and_an_exempt_key_has_none(make, counted):
    rule("second", threshold=50, target_tier="pro", action="change", position=2)
    rule("first", threshold=50, action="change", position=1)
    key, exempt = make(), make("exempt", is_exempt=True)
    use(key, 2400)
    use(exempt, 2400)
    assert applied() == [("shop", "changed")]
    assert APIKey.objects.get(pk=key.pk).tier.name == "basic"
    rotated = keys.rotate(exempt.pk, timedelta(hours=1), ACTOR).key
    assert rotated.is_exempt
    assert applied() == []


def test_a_rule_that_is_switched_off_or_edited_in_the_midst_of_a_run_does_no_more(make, counted):
    first = rule("first", threshold=50, action="change")
    second = rule("second", "idle", None, tier="pro", action="deactivate", target_tier=None)
    for name, tier in (("a", "free"), ("b", "free"), ("c", "pro"), ("d", "pro")):
        key = make(name, tier)
        if tier == "free":
            use(key, 2400)
    outcomes = run.apply(TODAY)
    assert next(outcomes).done == "changed"
    rules.switch(first.pk, ACTOR, on=False)
    assert next(outcomes).done == "the rule was switched off meanwhile"
    assert next(outcomes).done == "paused"
    second.period_days = 9
    rules.update(second, ACTOR)
    rules.switch(second.pk, ACTOR, on=True, seen=rules.revision(second))
    assert [each.done for each in outcomes] == ["the rule was switched off meanwhile"]
    assert APIKey.objects.filter(tier__name="free", is_active=True).count() == 1


def test_a_suggestion_is_accepted_or_dismissed_or_overtaken(make, counted):
    up = rule(cooldown_days=7)
    rule("other", threshold=10, position=20, period_days=9)
    accepted, dismissed, moved, exempt = (make(name) for name in ("accepted", "dismissed", "moved", "exempt"))
    for key in (accepted, dismissed, moved, exempt):
        use(key, 2400)
    assert {done for _, done in applied()} == {"suggested"}
    by_key = {row.chain_id: row.pk for row in TierSuggestion.objects.all()}
    other = TierSuggestion.objects.create(
        chain=accepted,
        rule_id=up.pk + 1,
        tier=accepted.tier,
        target_tier=accepted.tier,
        figures={"rule": "x"},
    )
    keys.rotate(accepted.pk, timedelta(hours=1), ACTOR)
    assert suggestions.accept(by_key[accepted.pk], ACTOR)
    assert not suggestions.accept(by_key[accepted.pk], ACTOR)
    assert not suggestions.dismiss(by_key[accepted.pk], ACTOR)
    newest = APIKey.objects.get(replaces=accepted)
    assert newest.tier.name == "basic"
    event = AuditEvent.objects.get(action="updated")
    assert (event.actor, event.target_id) == ("admin:ada", newest.pk)
    assert event.detail["changed"] == {"tier": ["free", "basic"]}
    assert (event.detail["rule"], event.detail["share_percent"]) == ("up", 100.0)
    other.refresh_from_db()
    assert (other.state, other.decided_by) == ("overtaken", "rules")

    assert suggestions.dismiss(by_key[dismissed.pk], ACTOR)
    assert AuditEvent.objects.get(action="dismissed").target_id == dismissed.pk
    row = TierSuggestion.objects.get(pk=by_key[dismissed.pk])
    assert (row.state, row.decided_by, row.held_until) == (
        "dismissed",
        "admin:ada",
        suggestions.today() + 7 * DAY,
    )

    APIKey.objects.filter(pk=moved.pk).update(tier=Tier.objects.get(name="pro"))
    assert not suggestions.accept(by_key[moved.pk], ACTOR)
    APIKey.objects.filter(pk=exempt.pk).update(is_exempt=True)
    applied()
    states = dict(TierSuggestion.objects.values_list("pk", "state"))
    assert states[by_key[moved.pk]] == states[by_key[exempt.pk]] == "overtaken"
    assert APIKey.objects.get(pk=moved.pk).tier.name == "pro"


def test_what_cannot_be_moved_is_told_and_the_others_go_on(make, counted):
    rule("down", "share_at_most", 5, tier="pro", action="change", target_tier="free")
    make("huge", "pro", burst=100_000_000)
    make("shop", "pro")
    found = dict(applied())
    assert found["shop"] == "changed"
    assert "takes over ten years to refill" in found["huge"]


def test_nothing_is_done_while_usage_is_not_counted_or_another_run_is_at_work(make):
    rule("quiet", "idle", None, action="deactivate", target_tier=None)
    key = make()
    with pytest.raises(CommandError, match="may not be counted whole: the drain is behind, or stopped"):
        command()
    old = timezone.now() - timedelta(days=2)
    cursor = DrainCursor.objects.create(
        shard=0, epoch="one", last_id=f"{old.timestamp() * 1000:.0f}-0", updated_at=old
    )
    with pytest.raises(CommandError, match="drain"):
        command("--dry-run")
    cursor.updated_at = timezone.now()  # it is at work, and nothing came
    cursor.last_id = f"{timezone.now().timestamp() * 1000:.0f}-0"
    cursor.save()
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.cursor().execute(f"SELECT pg_advisory_lock({run.LOCK})")
        with pytest.raises(CommandError, match="Another run is at work"):
            command()
        other.cursor().execute(f"SELECT pg_advisory_unlock({run.LOCK})")  # closing is not waited for
    assert APIKey.objects.get(pk=key.pk).is_active
    assert command()[1].endswith(": 1 done, 1 found.\n")
    with pytest.raises(CommandError, match="lies ahead"):
        command("--at", "2090-01-01")
    with pytest.raises(CommandError, match="'soon' is no day"):
        command("--at", "soon")
