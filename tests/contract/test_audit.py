"""Both services write the same audit of the same deed."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine

from ratelimiter.database import sqlalchemy_url
from ratelimiter.keys.management import KeyManager, Origin
from ratelimiter.keys.own_limits import Numbers
from tests.servers import run_in_admin

UNTIL = datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC)

# What an operator does in the admin service; each line is one deed.
IN_THE_ADMIN = """
from datetime import UTC, datetime, timedelta
from api_manager import keys
from api_manager.audit import Actor
from api_manager.models import APIKey, KeyLimit, Tier

actor = Actor("admin:test")
until = datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC)
free = Tier.objects.get(name="free")
key = APIKey(name="shop", owner_email="a@example.org", tier=free, burst=7, expires_at=until, note="new")
key = keys.issue(key, actor).key
key.name, key.tier, key.allowed_cidrs = "store", Tier.objects.get(name="pro"), ["10.0.0.0/8"]
keys.update(key, ["name", "tier", "allowed_cidrs"], actor)

def save_limits():
    KeyLimit.objects.create(api_key=key, name="monthly", requests=5000)
    KeyLimit.objects.create(api_key=key, name="second", requests=7, burst=9)

def save_others():
    key.limits.filter(name="monthly").delete()
    key.limits.filter(name="second").update(requests=8)

key.note = "more"
keys.update(key, ["note"], actor, save_limits)
keys.update(key, [], actor, save_others)
keys.pause(key.pk, actor)
keys.activate(key.pk, actor)
new = keys.rotate(key.pk, timedelta(hours=1), actor).key
keys.revoke(new.pk, actor, "leaked")
"""


@pytest.fixture
def manager(database):
    engine = create_engine(sqlalchemy_url(database.api_url))
    yield KeyManager(engine, environment="live")
    engine.dispose()


def in_the_api(manager):
    origin = Origin("api:test", None, "")
    fields = {"name": "shop", "owner_email": "a@example.org", "tier": "free", "burst": 7, "expires_at": UNTIL}
    key, _ = manager.issue(fields | {"note": "new", "allowed_cidrs": []}, origin)
    manager.change(key.id, {"name": "store", "tier": "pro", "allowed_cidrs": ["10.0.0.0/8"]}, origin)
    own = {"monthly": Numbers(5000), "second": Numbers(7, 9)}
    manager.change(key.id, {"note": "more", "limits": own}, origin)
    manager.change(key.id, {"limits": {"monthly": None, "second": Numbers(8, 9)}}, origin)
    manager.change(key.id, {"is_active": False}, origin)
    manager.change(key.id, {"is_active": True}, origin)
    new, _ = manager.rotate(key.id, timedelta(hours=1), origin)
    manager.revoke(new.id, origin, "leaked")


def events(database, actor):
    rows = database.sql("SELECT action, detail FROM audit_event WHERE actor = %s ORDER BY id", actor)
    # What differs between two keys by nature: their numbers, their hints, and the moment a grace ends.
    differs = {"hint", "replaces", "replaces_hint", "replaced_by"}
    plain = []
    for action, found in rows:
        detail = {name: type(value) if name in differs else value for name, value in found.items()}
        if action == "rotated":
            assert datetime.fromisoformat(detail["expires_at"]) > datetime.now(UTC)
            detail["expires_at"] = len(detail["expires_at"])
        plain.append((action, detail))
    return plain


def test_the_same_deeds_leave_the_same_events(manager, database):
    database.sql(
        "INSERT INTO tier_limit (tier_id, name, requests, window_seconds, period)"
        " SELECT id, 'second', 5, 1, NULL FROM tier WHERE name = 'pro'"
        " UNION ALL SELECT id, 'monthly', 1000, NULL, 'month' FROM tier WHERE name = 'pro'"
    )
    in_the_api(manager)
    run_in_admin(database.owner_url, IN_THE_ADMIN)
    written = events(database, "api:test")
    assert [action for action, _ in written] == [
        "created",
        "updated",
        "updated",
        "updated",
        "paused",
        "activated",
        "created",
        "rotated",
        "revoked",
    ]
    assert written == events(database, "admin:test")
