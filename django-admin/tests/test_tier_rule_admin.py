"""Tier rules and their suggestions at the admin site."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from api_manager import credentials
from api_manager.models import (
    APIKey,
    AuditEvent,
    DrainCursor,
    KeyTerms,
    Tier,
    TierRule,
    TierSuggestion,
    UsageDaily,
)
from api_manager.tier_rules import suggestions

RULES = "/admin/api_manager/tierrule/"
SUGGESTIONS = "/admin/api_manager/tiersuggestion/"
FIGURES = {
    "rule": "Grow",
    "tier": "free",
    "target": "basic",
    "period": "2026-10-24 to 2026-11-22",
    "tokens_a_day": 2004.5,
    "share_percent": 83.52,
    "limit": "default",
    "denials_a_day": 0.0,
}


@pytest.fixture
def form(db) -> dict[str, object]:
    """A rule that is right."""
    tiers = {tier.name: tier.pk for tier in Tier.objects.all()}
    return {
        "name": "Grow",
        "tier": tiers["free"],
        "condition": "share_at_least",
        "threshold": 80,
        "period_days": 10,
        "action": "suggest",
        "target_tier": tiers["basic"],
        "position": 10,
        "cooldown_days": 30,
    }


@pytest.fixture
def suggest(issue):
    """A suggestion that waits for an operator."""

    def suggest(name: str = "shop") -> TierSuggestion:
        rule, _ = TierRule.objects.get_or_create(
            name="Grow",
            condition="share_at_least",
            threshold=80,
            action="suggest",
            target_tier=Tier.objects.get(name="basic"),
        )
        key = issue(name).key
        return TierSuggestion.objects.create(
            chain=key, rule=rule, tier=key.tier, target_tier=rule.target_tier, figures=FIGURES
        )

    return suggest


def test_a_rule_that_is_wrong_says_what_was_expected_and_changes_nothing(site: Client, form):
    tiers = {tier.name: tier.pk for tier in Tier.objects.all()}
    secret = credentials.generate()
    for said, message in (
        ({"name": ""}, "This field is required."),
        ({"name": secret}, "This holds an API key"),
        ({"threshold": ""}, "Expected a percentage from 1 to 100."),
        ({"threshold": 101}, "Expected a percentage from 1 to 100."),
        ({"condition": "share_at_most", "threshold": 100}, "Expected a percentage from 0 to 99."),
        ({"condition": "denials_at_least", "threshold": 0}, "Expected denials a day, 1 or more."),
        ({"condition": "idle"}, "Leave it empty: this condition has none."),
        ({"condition": "gold"}, "Select a valid choice."),
        ({"period_days": 0}, "greater than or equal to 1"),
        ({"cooldown_days": 366}, "less than or equal to 365"),
        ({"target_tier": ""}, "Say to which tier."),
        ({"target_tier": tiers["free"]}, "The keys have this tier already."),
        ({"action": "notify"}, "Leave it empty: this action changes no tier."),
        ({"tier": tiers["pro"]}, "This condition leads up, and basic has less than pro."),
        ({"condition": "share_at_most"}, "This condition leads down, and basic has more than free."),
    ):
        page = site.post(f"{RULES}add/", form | said)
        assert page.status_code == 200, said
        assert message in page.text, said
    assert not TierRule.objects.exists()
    assert not AuditEvent.objects.exists()


def test_rules_that_would_flip_a_key_are_refused_by_both_names(site: Client, form):
    site.post(f"{RULES}add/", form)
    back = form | {
        "name": "Back",
        "condition": "share_at_most",
        "tier": form["target_tier"],
        "target_tier": form["tier"],
        "threshold": 7,
    }
    page = site.post(f"{RULES}add/", back)
    assert "“Grow” moves a key from free up to basic at 80% of 100 an hour" in page.text
    assert "Let “Back” ask for 6% at most." in page.text
    site.post(f"{RULES}add/", back | {"threshold": 6})
    grow, other = TierRule.objects.get(name="Grow"), TierRule.objects.get(name="Back")
    assert (
        "it would go back and forth" in site.post(f"{RULES}{grow.pk}/change/", form | {"threshold": 70}).text
    )
    assert site.post(f"{RULES}{grow.pk}/change/", form | {"threshold": 90}).status_code == 302
    assert other.threshold == 6


def test_a_rule_goes_on_once_it_was_looked_at_and_off_when_it_changes(site: Client, form, issue):
    now = timezone.now()
    key, exempt = issue("busy shop").key, issue("exempt", is_exempt=True).key
    KeyTerms.objects.update(valid_from=datetime(2026, 1, 1, tzinfo=UTC))
    for number in range(1, 11):
        for each in (key, exempt):
            day = suggestions.today() - timedelta(days=number)
            UsageDaily.objects.create(day=day, api_key=each, allowed=2000, cost=2000)
    response = site.post(f"{RULES}add/", form)
    rule = TierRule.objects.get()
    preview = f"{RULES}{rule.pk}/preview/"
    assert (response.url, rule.is_active) == (preview, False)
    page = site.get(preview).text
    assert "the drain is behind, or stopped" in page
    DrainCursor.objects.create(
        shard=0, epoch="one", last_id=f"{now.timestamp() * 1000:.0f}-0", updated_at=now
    )
    page = site.get(preview).text
    assert "drain" not in page
    assert "it would act on <strong>1 key</strong>" in page
    assert "busy shop" in page
    assert "83.3% of default" in page
    assert "suggest basic" in page
    assert "Nothing is done while it is off." in page
    assert "After a rule has moved it, none moves it for 30 days" in page
    TierRule.objects.update(action="notify", target_tier=None)
    assert "After this rule has acted on it, it leaves it alone for 30 days." in site.get(preview).text
    TierRule.objects.update(action="suggest", target_tier=form["target_tier"])
    assert not TierSuggestion.objects.exists()

    switch(site, preview, page)
    switch(site, preview, page)
    rule.refresh_from_db()
    assert rule.is_active
    site.post(f"{RULES}{rule.pk}/change/", form | {"name": "Grow up"})
    rule.refresh_from_db()
    assert rule.is_active
    site.post(f"{RULES}{rule.pk}/change/", form | {"name": "Grow up", "threshold": 50})
    rule.refresh_from_db()
    assert (rule.is_active, rule.threshold) == (False, 50)
    site.post(f"{RULES}{rule.pk}/delete/", {"post": "yes"})
    events = AuditEvent.objects.filter(target_type="rule", target_id=rule.pk).order_by("pk")
    assert [(event.action, event.detail.get("changed")) for event in events] == [
        ("created", None),
        ("activated", {"is_active": [False, True]}),
        ("updated", {"name": ["Grow", "Grow up"]}),
        ("updated", {"threshold": [80, 50], "is_active": [True, False]}),
        ("deleted", None),
    ]
    assert events[0].detail["target_tier"] == "basic"
    assert site.get("/admin/api_manager/auditevent/").status_code == 200
    assert site.get(preview).status_code == 404


def switch(site: Client, preview: str, page: str | None = None):
    """Presses the button of a preview: of the page as it is now, or as somebody has it before him."""
    [(name, value)] = re.findall(r'name="(on|off)" value="(\w+)"', page or site.get(preview).text)
    return site.post(preview, {name: value}, follow=page is not None)


def test_a_rule_that_was_edited_after_it_was_looked_at_does_not_go_on(site: Client, form):
    site.post(f"{RULES}add/", form)
    rule = TierRule.objects.get()
    preview, change = f"{RULES}{rule.pk}/preview/", f"{RULES}{rule.pk}/change/"
    seen = site.get(preview).text
    site.post(change, form | {"threshold": 1, "action": "change"})
    for sent in (switch(site, preview, seen), site.post(preview, {"on": "1"}, follow=True)):
        assert "Grow was edited meanwhile. Look at what it would do now" in sent.text
        rule.refresh_from_db()
        assert not rule.is_active
    site.post(change, form | {"name": "Grown"})
    assert "Grown is on." in switch(site, preview, seen).text  # it says what was seen
    assert AuditEvent.objects.filter(action="activated").count() == 1


def test_one_click_decides_a_suggestion_and_many_are_decided_at_once(site: Client, suggest):
    first, second, third, fourth = (suggest(f"shop {number}") for number in range(4))
    listed = site.get(SUGGESTIONS)
    assert "83.52% of default, 2,004.5 tokens and 0 denials a day, 2026-10-24 to 2026-11-22" in listed.text
    assert '<span class="nav-count">4</span>' in listed.text
    assert site.post(SUGGESTIONS, {"accept": first.pk}).url == SUGGESTIONS
    assert APIKey.objects.get(name="shop 0").tier.name == "basic"
    site.post(SUGGESTIONS, {"dismiss": second.pk})
    assert dict(TierSuggestion.objects.values_list("pk", "state")) == {
        first.pk: "accepted",
        second.pk: "dismissed",
        third.pk: "waiting",
        fourth.pk: "waiting",
    }
    for wrong in ("0", "x", "-1", "٣", "9" * 25):
        assert site.post(SUGGESTIONS, {"accept": wrong}).status_code == 404
    chosen = {"action": "accept", "_selected_action": [first.pk, third.pk, fourth.pk]}
    told = [str(each) for each in site.post(SUGGESTIONS, chosen, follow=True).context["messages"]]
    assert told[-2:] == ["Accepted: 2.", "Left as they are: 1. They were decided or overtaken before."]
    assert APIKey.objects.filter(tier__name="basic").count() == 3
    assert AuditEvent.objects.filter(actor="admin:alice", action="updated").count() == 3
    page = site.get(SUGGESTIONS)
    assert "by admin:alice" in page.text
    assert "nav-count" not in page.text
    assert site.get(f"{SUGGESTIONS}{first.pk}/change/").status_code == 200
    TierRule.objects.all().delete()
    assert site.get(SUGGESTIONS).status_code == 200


def test_of_many_that_cannot_be_moved_some_are_named_and_the_others_counted(site: Client, suggest):
    for number in range(8):
        APIKey.objects.filter(pk=suggest(f"shop {number}").chain_id).update(burst=100_000_000)
    suggest("light")
    every = {"action": "accept", "select_across": "1", "_selected_action": [1]}
    told = [str(each) for each in site.post(SUGGESTIONS, every, follow=True).context["messages"]]
    assert ["takes over ten years to refill" in each for each in told] == [*[True] * 5, False, False]
    assert told[5:] == ["3 more cannot be moved either; they wait on.", "Accepted: 1."]
    assert TierSuggestion.objects.filter(state="waiting").count() == 8


def test_a_viewer_looks_and_decides_nothing(suggest):
    waiting = suggest()
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.groups.add(Group.objects.get(name="Viewer"))
    client = Client()
    client.force_login(viewer)
    preview = f"{RULES}{waiting.rule_id}/preview/"
    assert 'name="on"' not in client.get(preview).text
    assert 'name="accept"' not in client.get(SUGGESTIONS).text
    assert client.post(preview, {"on": "1"}).status_code == 403
    assert client.post(SUGGESTIONS, {"accept": waiting.pk}).status_code == 403
    assert TierSuggestion.objects.get().state == "waiting"
    assert not TierRule.objects.get().is_active


def test_a_tier_that_a_rule_names_is_not_deleted_and_a_key_shows_that_it_is_exempt(
    site: Client, suggest, issue
):
    rule = suggest().rule
    basic = Tier.objects.get(name="basic")
    page = site.get(f"/admin/api_manager/tier/{basic.pk}/delete/")
    assert f'The tier rule <a href="{RULES}{rule.pk}/change/">Grow</a> names it' in page.text
    site.post(f"/admin/api_manager/tier/{basic.pk}/delete/", {"post": "yes"})
    assert Tier.objects.filter(pk=basic.pk).exists()
    key = issue("free", is_exempt=True).key
    assert "no rule moves or pauses it" in site.get(f"/admin/api_manager/apikey/{key.pk}/change/").text
    assert 'name="is_exempt"' in site.get(f"/admin/api_manager/apikey/{key.pk}/edit/").text


def test_deleting_a_rule_leaves_nothing_waiting(site: Client, suggest):
    rule = suggest().rule
    site.post(RULES, {"action": "delete_selected", "_selected_action": [rule.pk], "post": "yes"})
    row = TierSuggestion.objects.get()
    assert (row.state, row.decided_by, row.held_until) == ("overtaken", "rules", None)
