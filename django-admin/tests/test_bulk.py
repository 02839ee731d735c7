import csv
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api_manager import bulk, credentials, keys
from api_manager.admin import bulk as pages
from api_manager.audit import Actor
from api_manager.keys import ConflictError
from api_manager.models import APIKey, AuditEvent, KeyLimit, Tier

LIST = "/admin/api_manager/apikey/"
ACTOR = Actor("test:x")


def act(site: Client, action: str, *chosen: APIKey, address: str = LIST, **data):
    """Run an action on keys; without any, on all that the filter of the address shows."""
    selected = [key.pk for key in chosen] or [0]
    data = {"action": action, "select_across": "0" if chosen else "1", "_selected_action": selected} | data
    return site.post(address, data)


def said(site: Client, response) -> list[str]:
    return [str(message) for message in site.get(response.url).context["messages"]]


def revoked() -> set[APIKey]:
    return set(APIKey.objects.filter(revoked_at__isnull=False))


def test_revoking_many_asks_for_a_reason_and_their_number(site: Client, issue):
    first, second, done, other = (issue(name).key for name in ("first", "second", "done", "other"))
    keys.revoke(done.pk, ACTOR)
    page = act(site, "revoke", first, second, done)
    assert "Revoke 2 keys" in page.text
    assert first.hint in page.text
    assert "Another 1 of those you chose is revoked already" in page.text
    assert revoked() == {done}

    for count, reason, error in (
        ("3", "leaked", "There are 2."),
        ("2", " ", "This field is required."),
        ("", "leaked", "This field is required."),
    ):
        assert error in act(site, "revoke", first, second, done, count=count, reason=reason).text
    pasted = act(site, "revoke", first, second, done, count="2", reason=credentials.generate())
    assert "This holds an API key" in pasted.text
    assert revoked() == {done}

    response = act(site, "revoke", first, second, done, count="2", reason="leaked")
    assert said(site, response) == ["Revoked: 2 keys."]
    assert revoked() == {first, second, done}
    assert set(APIKey.objects.filter(revoked_reason="leaked")) == {first, second}
    events = AuditEvent.objects.filter(action="revoked", actor="admin:alice")
    assert {event.target_id: event.detail for event in events} == {
        key.pk: {"hint": key.hint, "reason": "leaked"} for key in (first, second)
    }
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(first.pk), str(second.pk)}
    assert said(site, act(site, "revoke", first, done)) == ["All of these keys are revoked already."]
    assert other.revoked_at is None


def test_all_that_a_filter_shows_is_chosen_anew_when_it_is_confirmed(site: Client, issue):
    chosen = [issue(f"k{n}", tier="pro").key for n in range(3)]
    issue("other", tier="free")
    address = f"{LIST}?tier__id__exact={Tier.objects.get(name='pro').pk}"
    page = act(site, "revoke", address=address)
    assert "Revoke 3 keys" in page.text
    assert re.search(r'<input type="hidden" name="select_across" value="1">', page.text)
    late = issue("late", tier="pro").key
    page = act(site, "revoke", address=address, count="3", reason="left")
    assert "There are 4." in page.text
    assert revoked() == set()
    response = act(site, "revoke", address=address, count="4", reason="left")
    assert response.url == address
    assert revoked() == {*chosen, late}


def test_what_a_new_tier_changes_is_shown_before_it_is_given(site: Client, issue):
    plain, own = issue("plain").key, issue("own", tier="basic", burst=7).key
    there, ended = issue("there", tier="pro").key, issue("ended").key
    keys.revoke(ended.pk, ACTOR)
    further = issue("further", tier="basic").key
    KeyLimit.objects.create(api_key=further, name="monthly", requests=5)
    chosen, pro = (plain, own, further, there, ended), Tier.objects.get(name="pro").pk
    asked = act(site, "retier", *chosen)
    assert 'name="tier"' in asked.text
    assert 'name="count"' not in asked.text
    shown = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", act(site, "retier", *chosen, tier=pro).text))
    assert "Move 3 keys to pro" in shown
    assert "free → pro 1 100 → 10,000 100 → 10,000 0" in shown
    assert "basic → pro 2 1,000 → 10,000 1,000 → 10,000 2, kept" in shown

    assert "There are 3." in act(site, "retier", *chosen, tier=pro, count="4").text
    assert "Select a valid choice" in act(site, "retier", *chosen, tier="0", count="3").text
    response = act(site, "retier", *chosen, tier=pro, count="3")
    assert said(site, response) == ["Moved to pro: 3 keys."]
    assert set(APIKey.objects.filter(tier=pro)) == {plain, own, further, there}
    assert further.limits.get().requests == 5
    assert APIKey.objects.get(pk=own.pk).burst == 7
    events = AuditEvent.objects.filter(action="updated")
    assert {event.target_id: event.detail for event in events} == {
        plain.pk: {"changed": {"tier": ["free", "pro"]}},
        own.pk: {"changed": {"tier": ["basic", "pro"]}},
        further.pk: {"changed": {"tier": ["basic", "pro"]}},
    }
    assert said(site, act(site, "retier", *chosen, tier=pro)) == [
        "All of these keys have the tier pro already."
    ]
    assert said(site, act(site, "retier", ended)) == ["All of these keys are revoked, which is final."]


def test_a_tier_that_a_burst_does_not_fit_changes_no_key(site: Client, issue):
    slow = [issue(f"slow{n}", tier="enterprise", burst=900_000_000).key for n in range(7)]
    fits = issue("fits", tier="enterprise").key
    free = Tier.objects.get(name="free")
    with pytest.raises(ConflictError, match="and 2 more takes over ten years"):
        bulk.retier([key.pk for key in (*slow, fits)], free, ACTOR)
    [message] = said(site, act(site, "retier", *slow, fits, tier=free.pk, count="8"))
    assert message.startswith("Nothing was changed: at the rate of free the burst of slow0")
    assert not APIKey.objects.filter(tier=free).exists()
    assert not AuditEvent.objects.filter(action="updated").exists()


def test_many_keys_cost_few_queries_and_more_than_may_be_are_refused(site: Client, issue, monkeypatch):
    tier = Tier.objects.get(name="free")
    rows = [APIKey(name=f"k{n}", hint="x", digest=n.to_bytes(32, "big"), tier=tier) for n in range(60)]
    chosen = [key.pk for key in APIKey.objects.bulk_create(rows)]

    def queries(count):
        with CaptureQueriesContext(connection) as seen:
            assert len(bulk.revoke(chosen[:count], ACTOR, "x")) == count
            chosen[:count] = []
        return len(seen)

    assert queries(50) == queries(1) <= 10
    for module, name, text in (
        (bulk, "MAX_KEYS", "At most 5 keys at once"),
        (pages, "MAX_EXPORTED", "in a file"),
    ):
        monkeypatch.setattr(module, name, 5)
        for action in ("revoke", "retier") if module is bulk else ("export",):
            [message] = said(site, act(site, action))
            assert text in message
    assert APIKey.objects.filter(revoked_at__isnull=True).count() == 9


def test_an_export_says_what_is_known_and_no_secret(site: Client, issue):
    issued = issue("=cmd|'/C calc'!A0", owner_email="a@example.org", burst=7, note="-1\nsecond line")
    key = issued.key
    APIKey.objects.filter(pk=key.pk).update(
        expires_at="2090-01-01T00:00:00Z", allowed_cidrs=["10.0.0.0/8", "2001:db8::/32"]
    )
    other, left_out = issue("@other", tier="pro").key, issue("left out").key
    keys.revoke(other.pk, ACTOR)
    response = act(site, "export", key, other)
    assert response["Content-Disposition"] == f'attachment; filename="keys-{timezone.now():%Y-%m-%d}.csv"'
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    text = response.getvalue().decode()
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["id"] for row in rows] == [str(key.pk), str(other.pk)]
    first, second = rows
    assert (first["name"], first["note"], second["name"]) == (
        "'=cmd|'/C calc'!A0",
        "'-1\nsecond line",
        "'@other",
    )
    assert (first["requests_per_hour"], first["burst"], first["own_burst"]) == ("100", "7", "7")
    assert (first["own_requests_per_hour"], first["status"], second["status"]) == ("", "active", "revoked")
    assert (first["expires_at"], first["last_used_at"]) == ("2090-01-01T00:00:00+00:00", "")
    assert first["allowed_cidrs"] == "10.0.0.0/8 2001:db8::/32"
    assert issued.secret not in text
    assert bytes(key.digest).hex() not in text
    event = AuditEvent.objects.get(action="exported")
    assert (event.actor, event.detail) == ("admin:alice", {"table": "api_key", "rows": 2, "format": "csv"})
    everything = act(site, "export", address=f"{LIST}?status=active").getvalue().decode()
    assert [row["id"] for row in csv.DictReader(everything.splitlines(keepends=True))] == [
        str(key.pk),
        str(left_out.pk),
    ]
