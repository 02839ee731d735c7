"""`make restore`: what comes back, what is kept of what is there, what is refused."""

from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from local.errors import LocalError
from local.restore import NUMBERS_GAP
from tests.backup.platforms import API, OWNER
from tests.servers import execute, manage


def test_what_was_destroyed_is_back(platform, tmp_path):
    first = platform.issue("one", burst=7)
    platform.log(first, 3)
    everything = (
        "SELECT name, digest, burst, created_at FROM api_key",
        "SELECT * FROM request_log ORDER BY id",
    )
    before = [platform.sql(query) for query in everything]
    path = platform.backup(tmp_path)
    platform.sql("TRUNCATE request_log; UPDATE tier SET requests_per_hour = 1")
    kept_as = platform.restore(path)
    assert [platform.sql(query) for query in everything] == before
    assert platform.sql("SELECT requests_per_hour FROM tier WHERE name = 'free'") == [(100,)]
    # What was there before is there still, and takes connections.
    assert execute(platform.url(OWNER, kept_as), "SELECT count(*) FROM request_log") == [(0,)]
    assert platform.databases() >= {platform.name, kept_as}
    assert not [name for name in platform.databases() if "restoring" in name]
    assert f"DROP DATABASE {kept_as}" in platform.stack.how_to_drop(kept_as)
    execute(platform.url(OWNER), f"DROP DATABASE {kept_as}")


def test_both_roles_can_what_they_could_and_no_more(platform, tmp_path):
    platform.restore(platform.backup(tmp_path))
    execute(platform.url(OWNER), "CREATE TABLE mine (id int)")
    assert execute(platform.url(API), "SELECT count(*) FROM api_key") == [(0,)]
    execute(platform.url(API), "SELECT request_log_drop_partitions(30, false)")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(platform.url(API), "DELETE FROM request_log")
    acl = "SELECT datacl, datconnlimit, pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
    [(grants, limit, owner)] = platform.sql(acl, platform.name)
    assert "=Tc/" not in grants.replace(f"{OWNER.name}=CTc/", "")  # nothing for everybody
    assert (limit, owner) == (-1, OWNER.name)


def test_keys_that_were_issued_since_are_kept_with_their_number_chain_and_tier(platform, tmp_path):
    old = platform.issue("old")
    path = platform.backup(tmp_path)
    platform.sql("INSERT INTO tier (name, requests_per_hour) VALUES ('gold', 5)")
    gold = platform.sql("SELECT id FROM tier WHERE name = 'gold'")[0][0]
    new = platform.issue(
        "new", replaces_id=old, tier_id=gold, revoked_at="2026-01-01Z", revoked_reason="leaked"
    )
    newest = platform.issue("newest", replaces_id=new, note="two\nlines")
    platform.sql("UPDATE api_key SET allowed_cidrs = '{192.0.2.7,2001:db8::/32}' WHERE id = %s", newest)
    kept = "(id, replaces_id, revoked_at, revoked_reason, note, allowed_cidrs)::text"
    before = platform.keys(kept)
    platform.restore(path)
    assert platform.keys(kept) == before
    tier = (
        "SELECT tier.name, requests_per_hour FROM api_key JOIN tier ON tier.id = tier_id WHERE api_key.name ="
    )
    assert platform.sql(f"{tier.replace('requests', 'tier.requests')} 'new'") == [("gold", 5)]
    assert {("restored", "key", new), ("restored", "key", newest)} <= set(platform.audit())
    assert platform.issue("next") == newest + 1


def test_keys_that_were_stopped_since_stay_stopped(platform, tmp_path):
    for name in ("revoked", "paused", "shortened", "untouched", "restricted", "freed"):
        networks = "{192.0.2.0/24}" if name == "freed" else "{}"
        platform.issue(name, expires_at="2090-01-01Z", allowed_cidrs=networks)
    path = platform.backup(tmp_path)
    platform.sql(
        "UPDATE api_key SET revoked_at = '2026-11-01Z', revoked_reason = 'leak' WHERE name = 'revoked'"
    )
    platform.sql(
        "UPDATE api_key SET allowed_cidrs = '{192.0.2.7/32,2001:db8::/32}' WHERE name = 'restricted'"
    )
    platform.sql("UPDATE api_key SET is_active = false WHERE name = 'paused'")
    platform.sql("UPDATE api_key SET expires_at = '2080-01-01Z' WHERE name = 'shortened'")
    columns = ("revoked_at", "revoked_reason", "is_active", "expires_at", "allowed_cidrs::text")
    fields = [platform.keys(column) for column in columns]
    platform.sql("UPDATE api_key SET allowed_cidrs = '{}' WHERE name = 'freed'")
    platform.restore(path)
    assert [platform.keys(column) for column in columns] == fields, "and an edit that freed a key is lost"
    numbers = platform.keys()
    assert set(platform.audit()) == {
        ("revoked", "key", numbers["revoked"]),
        ("updated", "key", numbers["paused"]),
        ("updated", "key", numbers["shortened"]),
        ("updated", "key", numbers["restricted"]),
        ("restored", "database", 0),
    }
    assert "  4 keys that were revoked, paused, shortened or restricted since are so again." in platform.said


def test_a_key_that_the_file_stops_is_named(platform, tmp_path):
    number = platform.issue("paused", is_active=False)
    platform.issue("renamed")
    path = platform.backup(tmp_path)
    platform.sql("UPDATE api_key SET is_active = true WHERE name = 'paused'")
    platform.sql("UPDATE api_key SET name = 'better' WHERE name = 'renamed'")
    platform.restore(path)
    assert platform.keys("is_active") == {"paused": False, "renamed": True}
    [(detail,)] = platform.sql("SELECT detail FROM audit_event WHERE target_type = 'database'")
    assert detail["keys_that_worked_and_no_longer_do"] == [number]
    assert detail["file"] == path.name


def test_the_audit_goes_on(platform, tmp_path):
    event = "INSERT INTO audit_event (actor, action, target_type, target_id) VALUES (%s, 'updated', 'key', 1)"
    platform.sql(event, "admin:before")
    path = platform.backup(tmp_path)
    platform.sql(event, "admin:after")
    platform.restore(path)
    actors = [actor for (actor,) in platform.sql("SELECT actor FROM audit_event ORDER BY id")]
    assert actors == ["admin:before", "admin:after", "command:restore"]


def test_after_a_disaster_what_is_not_known_is_said_and_no_number_is_given_twice(platform, tmp_path):
    for name in ("one", "two"):
        platform.issue(name)
    path = platform.backup(tmp_path)
    # Another platform in its place: a key of its own has the number of one of ours.
    platform.restore(path)
    platform.sql("ALTER TABLE api_key DISABLE TRIGGER USER; DELETE FROM api_key; DELETE FROM audit_event")
    platform.sql("ALTER SEQUENCE api_key_id_seq RESTART; ALTER TABLE api_key ENABLE TRIGGER USER")
    assert platform.issue("demo") == 1
    platform.restore(path)
    numbers = platform.keys()
    assert (numbers["one"], numbers["two"]) == (1, 2)
    assert numbers["demo"] > NUMBERS_GAP
    assert platform.issue("next") > numbers["demo"]
    assert any("WORKS AGAIN" in line and "UTC" in line for line in platform.said)
    [(detail,)] = platform.sql("SELECT detail FROM audit_event WHERE target_type = 'database'")
    assert detail["keys_whose_revocation_since_is_unknown"] == 2
    assert detail["present_database_was_readable"] is True


@pytest.mark.parametrize("damage", ["DROP TABLE api_key CASCADE", "DROP SCHEMA public CASCADE"])
def test_a_present_database_that_cannot_be_read_is_no_obstacle(platform, tmp_path, damage):
    platform.issue("one")
    path = platform.backup(tmp_path)
    platform.sql(damage)
    platform.restore(path)
    assert platform.keys() == {"one": 1}
    assert platform.issue("next") > NUMBERS_GAP
    [(detail,)] = platform.sql("SELECT detail FROM audit_event WHERE target_type = 'database'")
    assert detail["present_database_was_readable"] is False
    assert any("not readable" in line for line in platform.said)


def test_a_no_changes_nothing(platform, tmp_path):
    platform.issue("one")
    path = platform.backup(tmp_path)
    platform.issue("two")
    with pytest.raises(LocalError, match="as you wished"):
        platform.restore(path, answer="no")
    assert platform.keys() == {"one": 1, "two": 2}
    assert [name for name in platform.databases() if name.startswith(platform.name)] == [platform.name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-100], "pg_restore failed"),
        (lambda content: content[:50], "no dump that pg_restore can read"),
        (lambda _: b"", "no dump that pg_restore can read"),
        (lambda _: b"no dump", "no dump that pg_restore can read"),
    ],
)
def test_a_file_that_is_no_whole_dump_changes_nothing(platform, tmp_path, spoil, message):
    platform.issue("one")
    path = platform.backup(tmp_path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(LocalError, match=message):
        platform.restore(path)
    assert platform.keys() == {"one": 1}
    assert [name for name in platform.databases() if name.startswith(platform.name)] == [platform.name]
    execute(platform.url(API), "SELECT 1")


def test_a_dump_of_another_program_or_a_newer_version_is_refused(platform, tmp_path):
    platform.sql("INSERT INTO django_migrations (app, name, applied) VALUES ('api_manager', '9999_x', now())")
    with pytest.raises(LocalError, match="newer version, which has the migration 9999_x"):
        platform.restore(platform.backup(tmp_path))
    other = tmp_path / "other.dump"
    with (
        other.open("wb") as file,
        platform.stack.start("pg_dump", "--format=custom", "--dbname=postgres", stdout=file) as program,
    ):
        program.communicate()
    with pytest.raises(LocalError, match="not one of this platform's"):
        platform.restore(other)
    with pytest.raises(LocalError, match=r"FILE: .*No such file"):
        platform.restore(tmp_path / "none")


def test_a_dump_of_an_older_version_is_migrated(server, platform, tmp_path):
    manage(platform.url(OWNER), "migrate", "api_manager", "0006", "--verbosity=0")
    platform.issue("one")
    path = platform.backup(tmp_path)
    platform.restore(path)
    assert platform.keys() == {"one": 1}
    assert platform.sql("SELECT count(*) FROM request_log_archive") == [(0,)]


def test_a_revocation_is_kept_though_something_else_cannot_be_read(platform, tmp_path):
    platform.issue("leaked")
    path = platform.backup(tmp_path)
    platform.sql("UPDATE api_key SET revoked_at = now()")
    platform.issue("new")
    platform.sql("DROP TABLE audit_event CASCADE")
    platform.restore(path)
    assert set(platform.keys()) == {"leaked", "new"}
    assert platform.keys("revoked_at")["leaked"] is not None
    assert any("audit_event cannot be read" in line for line in platform.said)


def test_second_factors_are_as_they_were_before_the_restore(platform, tmp_path):
    def device(user, key):
        return (
            "INSERT INTO otp_totp_totpdevice (user_id, name, confirmed, key, step, t0, digits, tolerance,"  # noqa: S608
            f" drift, last_t, throttling_failure_count) SELECT id, 'app', true, '{key}', 30, 0, 6, 1, 0, 7, 0"
            f" FROM auth_user WHERE username = '{user}'"
        )

    def codes(user, code):
        return (
            "WITH made AS (INSERT INTO otp_static_staticdevice (user_id, name, confirmed,"  # noqa: S608
            f" throttling_failure_count) SELECT id, 'codes', true, 0 FROM auth_user WHERE username = '{user}'"
            f" RETURNING id) INSERT INTO otp_static_statictoken (device_id, token)"
            f" SELECT id, '{code}' FROM made"
        )

    platform.sql(
        "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name,"
        " email, date_joined) SELECT name, '', true, true, true, '', '', '', now()"
        " FROM unnest(ARRAY['lost', 'kept', 'new']) AS name"
    )
    platform.sql(
        f"{device('lost', 'aa')}; {device('kept', 'bb')}; {codes('lost', 'old')}; {codes('kept', 'keep')}"
    )
    path = platform.backup(tmp_path)
    platform.sql(
        "DELETE FROM otp_totp_totpdevice WHERE key = 'aa'; UPDATE otp_totp_totpdevice SET last_t = 9"
    )
    platform.sql("DELETE FROM otp_static_statictoken WHERE token = 'old'")
    platform.sql(f"{device('lost', 'cc')}; {device('new', 'dd')}")
    platform.restore(path)
    devices = (
        "SELECT username, key, last_t FROM otp_totp_totpdevice AS d JOIN auth_user AS u ON u.id = user_id"
    )
    assert platform.sql(f"{devices} ORDER BY 1") == [("kept", "bb", 9), ("lost", "cc", 7), ("new", "dd", 7)]
    assert platform.sql("SELECT token FROM otp_static_statictoken") == [("keep",)]
    assert platform.sql("SELECT count(*) FROM otp_static_staticdevice") == [(2,)]


def test_an_operator_who_was_locked_out_since_stays_out_and_no_session_comes_back(platform, tmp_path):
    platform.sql(
        "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name,"
        " email, date_joined) VALUES ('one', 'old', true, true, true, '', '', '', now()),"
        " ('gone', 'old', true, true, true, '', '', '', now())"
    )
    platform.sql("INSERT INTO django_session VALUES ('cookie', 'data', now() + interval '12h')")
    path = platform.backup(tmp_path)
    platform.sql(
        "UPDATE auth_user SET is_active = false, is_superuser = false, password = 'new'"
        " WHERE username = 'one'"
        "; DELETE FROM auth_user WHERE username = 'gone'; DELETE FROM django_session"
    )
    platform.restore(path)
    operators = "SELECT username, password, is_active, is_superuser FROM auth_user ORDER BY username DESC"
    assert platform.sql(operators) == [("one", "new", False, False), ("gone", "old", False, True)]
    assert platform.sql("SELECT count(*) FROM django_session") == [(0,)]


def test_a_permission_that_was_taken_away_since_does_not_come_back(platform, tmp_path):
    platform.sql(
        "DELETE FROM auth_group_permissions; DELETE FROM auth_group"  # the roles
        "; INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name,"
        " last_name, email, date_joined) VALUES ('one', '', false, true, true, '', '', '', now())"
        "; INSERT INTO auth_group (name) VALUES ('kept'), ('left')"
        "; INSERT INTO auth_user_groups (user_id, group_id)"
        " SELECT u.id, g.id FROM auth_user AS u, auth_group AS g WHERE username = 'one'"
    )
    given = "SELECT id FROM auth_permission WHERE codename IN ('view_apikey', 'change_managementtoken')"
    columns = {"auth_group": "group_id", "auth_user_user": "user_id"}
    for table, column in columns.items():
        of = "auth_group" if column == "group_id" else "auth_user"
        platform.sql(
            f"INSERT INTO {table}_permissions ({column}, permission_id)"  # noqa: S608  # named here
            f" SELECT one.id, given.id FROM {of} AS one, ({given}) AS given"
        )
    path = platform.backup(tmp_path)
    platform.sql("DELETE FROM auth_user_groups USING auth_group AS g WHERE g.id = group_id AND name = 'left'")
    change = "(SELECT id FROM auth_permission WHERE codename = 'change_managementtoken')"
    for table in columns:
        platform.sql(f"DELETE FROM {table}_permissions WHERE permission_id = {change}")  # noqa: S608  # as above
    platform.restore(path)
    assert platform.sql("SELECT name FROM auth_user_groups JOIN auth_group AS g ON g.id = group_id") == [
        ("kept",)
    ]
    for table in columns:
        left = f"SELECT DISTINCT codename FROM {table}_permissions AS m JOIN auth_permission AS p"  # noqa: S608
        assert platform.sql(f"{left} ON p.id = permission_id") == [("view_apikey",)]


def test_of_an_owner_who_was_erased_since_no_new_address_is_kept(platform, tmp_path):
    """The file has the owner again; the audit names the key, and the drain leaves its addresses out."""
    platform.issue("hers")
    path = platform.backup(tmp_path)
    platform.sql(
        "INSERT INTO audit_event (actor, action, target_type, target_id)"
        " SELECT 'command:erase_owner', 'erased', 'key', id FROM api_key"
    )
    platform.restore(path)
    assert platform.sql("SELECT count(*) FROM erased_key JOIN api_key ON id = api_key_id") == [(1,)]


def test_an_audit_event_that_was_committed_late_is_kept(platform, tmp_path):
    columns = "actor, action, target_type, target_id"
    event = f"INSERT INTO audit_event ({columns}) VALUES (%s, 'updated', 'key', 1)"  # noqa: S608  # named here
    slow = psycopg2.connect(platform.url(OWNER))
    slow.cursor().execute(event, ["slow"])
    platform.sql(event, "fast")
    path = platform.backup(tmp_path)
    slow.commit()
    slow.close()
    platform.restore(path)
    actors = [actor for (actor,) in platform.sql("SELECT actor FROM audit_event ORDER BY id")]
    assert actors[:2] == ["slow", "fast"]


def test_a_newer_backup_can_follow_an_older_one_after_another_rotation(platform, tmp_path):
    first = platform.issue("first")
    old = platform.backup(tmp_path / "old")
    platform.issue("second", replaces_id=first)
    newer = platform.backup(tmp_path / "newer")
    platform.sql("ALTER TABLE api_key DISABLE TRIGGER USER; DELETE FROM api_key")
    platform.sql("ALTER TABLE api_key ENABLE TRIGGER USER")
    platform.restore(old)
    platform.issue("third", replaces_id=first)
    platform.restore(newer)
    assert set(platform.keys()) == {"first", "second", "third"}


def test_a_day_that_was_archived_whole_is_not_written_over(platform, tmp_path):
    day = (datetime.now(UTC) - timedelta(days=1)).date()
    columns = "api_key_id, endpoint, status_code, cost, timestamp"
    row = f"INSERT INTO request_log ({columns}) VALUES (1, '/x', 200, 1, %s)"  # noqa: S608  # named here
    platform.sql(row, f"{day} 01:00Z")
    path = platform.backup(tmp_path)
    platform.sql(row, f"{day} 02:00Z")
    archive = tmp_path / "archive"
    archive.mkdir()
    manage(platform.url(OWNER), "archive_requests", "--directory", str(archive))
    [file] = archive.iterdir()
    whole = file.read_bytes()
    platform.restore(path)
    manage(platform.url(OWNER), "archive_requests", "--directory", str(archive))
    assert file.read_bytes() == whole


def test_management_tokens_are_as_the_present_database_has_them(platform, tmp_path):
    for name in ("revoked", "shortened", "untouched"):
        platform.issue_token(name, expires_at="2090-01-01Z")
    path = platform.backup(tmp_path)
    platform.sql("UPDATE management_token SET revoked_at = '2026-11-01Z' WHERE name = 'revoked'")
    platform.sql("UPDATE management_token SET expires_at = '2080-01-01Z' WHERE name = 'shortened'")
    first = platform.issue_token("since")
    platform.issue_token("since", digest="sha256('second')", replaces_id=first)
    present = "SELECT * FROM management_token ORDER BY id"
    before = platform.sql(present)
    platform.restore(path)
    assert platform.sql(present) == before
    numbers = {row[1]: row[0] for row in before if row[0] != first}
    assert set(platform.audit()) == {
        ("revoked", "token", numbers["revoked"]),
        ("updated", "token", numbers["shortened"]),
        ("restored", "token", first),
        ("restored", "token", numbers["since"]),
        ("restored", "database", 0),
    }
    assert platform.issue_token("next") > numbers["since"]


def test_a_management_token_of_which_nothing_is_known_is_revoked(platform, tmp_path):
    number = platform.issue_token("ci")
    path = platform.backup(tmp_path)
    platform.sql("ALTER TABLE management_token DISABLE TRIGGER USER; DELETE FROM management_token")
    platform.sql("ALTER TABLE management_token ENABLE TRIGGER USER")
    platform.issue_token("ci", digest="sha256('of another platform')")
    platform.restore(path)
    [(known, is_revoked)] = platform.sql("SELECT id, revoked_at IS NOT NULL FROM management_token")
    assert (known, is_revoked) == (number, True)
    assert ("revoked", "token", number) in platform.audit()
    assert any("1 management tokens were not in the database before" in line for line in platform.said)
