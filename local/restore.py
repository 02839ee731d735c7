"""`make restore FILE=…`: brings a backup back, beside the present database, and then changes the two over.

Restored and checked is a database of another name, while the platform goes on; connections are cut only for
the last step. The API, its drain and the admin come back by themselves. What was there before is kept.

What the present database knows is not thrown away where it protects somebody: keys issued since the backup
are kept, keys stopped since stay stopped, management tokens are as they were, the audit goes on. Everything
else is as the file has it. Where the present database cannot be read, or is another one (as after a
disaster), that is said, and audited.

The drain goes on from the file's cursor: records that the stream still has are copied, none twice; those that
were copied and trimmed since the backup are counted as lost.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local.backup import feed, say
from local.errors import LocalError
from local.signals import StopRequested, StopSignals
from local.stack import API_ROLE, PROJECT, Stack, find, last_lines

NUMBERS_GAP = 1_000_000
"""Numbers of keys and rows that are left out where nobody knows which were given away after the backup."""

_MIGRATIONS = PROJECT / "django-admin/api_manager/migrations"
_SETTLE = Path(__file__).with_suffix(".sql")
_PARTITIONS_AHEAD_DAYS = 7

# What the present database is asked for. By these queries the tables of the schema `present` are made, too.
_PRESENT = {
    "sequence": """
        SELECT sequencename::text AS name, last_value FROM pg_sequences WHERE schemaname = 'public'
    """,
    # The present database may be of the version before, in which tiers have no fallback.
    "tier": """
        SELECT name, requests_per_hour, burst, coalesce(to_jsonb(tier) ->> 'fallback', 'local') AS fallback,
               description, created_at, updated_at
        FROM tier
    """,
    # The same of a key's networks, note and reason.
    "api_key": """
        SELECT k.id, k.name, k.owner_email, k.hint, k.digest, tier.name AS tier, k.requests_per_hour, k.burst,
               k.is_active, k.expires_at, k.revoked_at, k.created_at, k.updated_at, old.digest AS replaces,
               ARRAY(SELECT jsonb_array_elements_text(to_jsonb(k) -> 'allowed_cidrs'))::cidr[]
                   AS allowed_cidrs,
               coalesce(to_jsonb(k) ->> 'note', '') AS note,
               coalesce(to_jsonb(k) ->> 'revoked_reason', '') AS revoked_reason
        FROM api_key AS k JOIN tier ON tier.id = k.tier_id LEFT JOIN api_key AS old ON old.id = k.replaces_id
    """,
    "management_token": """
        SELECT t.id, t.name, t.hint, t.digest, t.scopes, t.expires_at, t.revoked_at, t.last_used_at,
               t.created_at, old.digest AS replaces
        FROM management_token AS t LEFT JOIN management_token AS old ON old.id = t.replaces_id
    """,
    "audit_event": """
        SELECT id, "timestamp", actor, action, target_type, target_id, detail, client_ip, request_id
        FROM audit_event
    """,
    "request_log_archive": "SELECT day, rows, sha256, archived_at, kept_until FROM request_log_archive",
    "operator": """
        SELECT username, password, is_active, is_staff, is_superuser,
               ARRAY(SELECT g.name FROM auth_user_groups AS m JOIN auth_group AS g ON g.id = m.group_id
                     WHERE m.user_id = u.id) AS groups,
               ARRAY(SELECT c.app_label || '.' || c.model || '.' || p.codename
                     FROM auth_user_user_permissions AS m JOIN auth_permission AS p ON p.id = m.permission_id
                     JOIN django_content_type AS c ON c.id = p.content_type_id
                     WHERE m.user_id = u.id) AS permissions
        FROM auth_user AS u
    """,
    # A row for each operator, so that none is left out for having no second factor.
    "second_factor": """
        SELECT username,
               ARRAY(SELECT to_jsonb(d) FROM otp_totp_totpdevice AS d WHERE d.user_id = u.id) AS totp,
               (SELECT to_jsonb(d) FROM otp_static_staticdevice AS d WHERE d.user_id = u.id
                ORDER BY id LIMIT 1) AS static,
               ARRAY(SELECT t.token FROM otp_static_statictoken AS t
                     JOIN otp_static_staticdevice AS d ON d.id = t.device_id
                     WHERE d.user_id = u.id) AS backup_codes
        FROM auth_user AS u
    """,
    "operator_group": """
        SELECT name,
               ARRAY(SELECT c.app_label || '.' || c.model || '.' || p.codename
                     FROM auth_group_permissions AS m JOIN auth_permission AS p ON p.id = m.permission_id
                     JOIN django_content_type AS c ON c.id = p.content_type_id
                     WHERE m.group_id = g.id) AS permissions
        FROM auth_group AS g
    """,
}
_FACTS = """
    SELECT (SELECT count(*) FROM api_key), (SELECT count(*) FROM api_key WHERE revoked_at IS NOT NULL),
           (SELECT count(*) FROM tier), (SELECT count(*) FROM request_log),
           (SELECT coalesce(to_char(max("timestamp") AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), 'never')
            FROM audit_event)
"""


@dataclass(frozen=True)
class Dump:
    """A file of `make backup`; when it was made, in UTC."""

    path: Path
    made_at: str


@dataclass(frozen=True)
class Settled:
    """Numbers of keys: issued since and kept, stopped since and again, ended by the file, and not known.

    And of the management tokens that are not known.
    """

    kept: int
    stopped: int
    ended: int
    unknown: int
    unknown_tokens: int


def restore(stack: Stack, path: Path, say: Callable[[str], None], confirm: Callable[[str], bool]) -> str:
    """Put a dump in the place of the platform's database; returns the name that one is kept under.

    Raises `LocalError` when it cannot, or `confirm` says no; the present database is as it was then.
    """
    dump = look_at(stack, path)
    stamp = f"{datetime.now(UTC):%Y%m%dt%H%M%S%fz}"  # two restores may end in one second
    new, before = f"{stack.database}_restoring_{stamp}", f"{stack.database}_before_{stamp}"
    owner = _require_roles(stack)
    say(f"{path.name} was made at {dump.made_at}. It is restored beside the present database.")
    is_done = False
    try:
        _create(stack, new, owner)
        with path.open("rb") as file:
            feed(stack, file, "restoring", "pg_restore", "--exit-on-error", f"--dbname={new}")
        _make_ready(stack, new)
        _compare(stack, new, say)
        readable = _readable(stack, say)
        if not confirm(f"Put {path.name} in the place of {stack.database}?"):
            raise LocalError("nothing was changed, as you wished")
        cut_at = time.monotonic()
        _cut_connections(stack)
        settled = _settle(stack, new, dump, readable)
        _change_over(stack, new, before)
        is_done = True
        _tell(settled, dump, time.monotonic() - cut_at, say)
    finally:
        # What was there before takes connections again, whichever name it has now.
        stack.sql('ALTER DATABASE :"name" CONNECTION LIMIT -1', name=before if is_done else stack.database)
        if not is_done:
            stack.sql('DROP DATABASE IF EXISTS :"name" WITH (FORCE)', name=new)
    return before


def look_at(stack: Stack, path: Path) -> Dump:
    """Read a file's table of contents. Raises `LocalError` when it is not a dump of this platform."""
    try:
        with path.open("rb") as file, stack.start("pg_restore", "--list", stdin=file) as program:
            content, complaint = program.communicate()
    except OSError as exc:
        raise LocalError(f"FILE: {exc}") from exc
    if program.returncode != 0:
        raise LocalError(f"FILE: {path} is no dump that pg_restore can read: {last_lines(complaint)}")
    text = content.decode(errors="replace")
    made_at = re.search(r"Archive created at (.+)", text)
    if made_at is None or " TABLE DATA public api_key " not in text:
        raise LocalError(f"FILE: {path} is a dump, but not one of this platform's database")
    return Dump(path, made_at[1])


def _require_roles(stack: Stack) -> str:
    """The owner of the present database, which is that of the new one, too."""
    owners = stack.sql(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :'name'", name=stack.database
    )
    if not owners or not stack.sql("SELECT 1 FROM pg_roles WHERE rolname = :'name'", name=API_ROLE):
        raise LocalError(
            f"the server has no database {stack.database} or no role {API_ROLE} yet; make run makes them, and"
            " docker compose run --rm roles"
        )
    return owners[0][0]


def _create(stack: Stack, new: str, owner: str) -> None:
    stack.sql('CREATE DATABASE :"new" OWNER :"owner" TEMPLATE template0', new=new, owner=owner)
    stack.sql(
        'REVOKE ALL ON DATABASE :"new" FROM PUBLIC; GRANT CONNECT ON DATABASE :"new" TO :"api"',
        new=new,
        api=API_ROLE,
    )


def _make_ready(stack: Stack, new: str) -> None:
    """Bring the schema up to this version, as the dump may be of an older one; and today's partition."""
    ours = {path.stem for path in _MIGRATIONS.glob("0*.py")}
    theirs = {
        name for [name] in stack.sql("SELECT name FROM django_migrations WHERE app = 'api_manager'", new)
    }
    if theirs - ours:
        raise LocalError(
            f"the file is of a newer version, which has the migration {max(theirs - ours)}; upgrade first"
        )
    if ours - theirs:
        stack.migrate(new)
    stack.sql(f"SELECT request_log_add_partitions({_PARTITIONS_AHEAD_DAYS})", new)
    stack.sql("ANALYZE", new)


def _compare(stack: Stack, new: str, say: Callable[[str], None]) -> None:
    restored = stack.sql(_FACTS, new)[0]
    try:
        present = stack.sql(_FACTS, stack.database)[0]
    except LocalError:
        present = ["not readable"] * len(restored)
    titles = ("keys", "of them revoked", "tiers", "rows of the log", "last event of the audit")
    say(f"{'':<24}{'in the file':>20}{'now':>20}")
    for title, old, now in zip(titles, restored, present, strict=True):
        say(f"{title:<24}{old:>20}{now:>20}")


def _readable(stack: Stack, say: Callable[[str], None]) -> list[str]:
    """What of the present database can be read; says why the rest cannot."""
    names = []
    for name, query in _PRESENT.items():
        try:
            stack.sql(f"SELECT count(present::text) FROM ({query}) AS present", stack.database)  # noqa: S608  # ours
        except LocalError as exc:
            say(f"The present {name} cannot be read: {exc}")
        else:
            names.append(name)
    return names


def _cut_connections(stack: Stack) -> None:
    """From here on only the superuser gets in, so that nothing changes that was looked at."""
    stack.sql('ALTER DATABASE :"name" CONNECTION LIMIT 0', name=stack.database)
    _end_sessions(stack, stack.database)


def _end_sessions(stack: Stack, name: str) -> None:
    stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :'name'", name=name)


def _settle(stack: Stack, new: str, dump: Dump, readable: Collection[str]) -> Settled:
    stack.sql("CREATE SCHEMA present", new)
    for name, query in _PRESENT.items():
        stack.sql(f"CREATE TABLE present.{name} AS {query} WITH NO DATA", new)
    for name in readable:  # if one fails now, nothing is changed: the question was answered knowing them all
        stack.copy(_PRESENT[name], stack.database, table=f"present.{name}", to=new)
    answer = stack.sql(
        f"BEGIN;\n{_SETTLE.read_text(encoding='utf-8')}\nCOMMIT;",
        new,
        file=dump.path.name,
        made_at=dump.made_at,
        is_readable=str({"sequence", "api_key"} <= set(readable)).lower(),
        gap=NUMBERS_GAP,
    )
    return Settled(**{name: int(number) for name, number in answer})


def _change_over(stack: Stack, new: str, before: str) -> None:
    """Rename both databases in one step; it waits some seconds for sessions that are still ending."""
    for name in (stack.database, new):
        _end_sessions(stack, name)
    stack.sql(
        "BEGIN;"
        'ALTER DATABASE :"present" RENAME TO :"before";'
        'ALTER DATABASE :"new" RENAME TO :"present";'
        "COMMIT;",
        present=stack.database,
        new=new,
        before=before,
    )


def _tell(settled: Settled, dump: Dump, seconds: float, say: Callable[[str], None]) -> None:
    say(f"Restored; connections were cut for {seconds:.1f} s.")
    if settled.kept:
        say(f"  {settled.kept} keys that were issued since are kept.")
    if settled.stopped:
        say(
            f"  {settled.stopped} keys that were revoked, paused, shortened or restricted since are so again."
        )
    if settled.ended:
        say(f"  {settled.ended} keys worked until now, and are paused or over in the file; see the audit.")
    if settled.unknown:
        say(
            f"  {settled.unknown} keys were not in the database before: what became of them is not known.\n"
            f"  One that was revoked after {dump.made_at} WORKS AGAIN: revoke it again.\n"
            "  Keys that were issued after that are gone."
        )
    if settled.unknown_tokens:
        say(
            f"  {settled.unknown_tokens} management tokens were not in the database before, and are revoked:"
            " issue new ones."
        )
    say("  Rows of the log that were written after the backup are not in it; the drain counts them as lost.")
    say("  All of this is in the audit, by command:restore.")


def _confirm(question: str) -> bool:
    if os.environ.get("YES") == "1":
        return True
    if not sys.stdin.isatty():
        raise LocalError("this is no terminal to ask at; say YES=1")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def main() -> None:
    """Restore the file that is named on the command line."""
    if len(sys.argv) != 2 or not sys.argv[1]:  # noqa: PLR2004 -- the program's name and the file
        sys.exit("Error: name the file: make restore FILE=backups/ratelimiter-….dump")
    try:
        with StopSignals():
            before = restore(stack := find(os.environ), Path(sys.argv[1]).absolute(), say, _confirm)
    except StopRequested as stop:
        sys.exit(stop.exit_code)
    except LocalError as exc:
        sys.exit(f"Error: not restored: {exc}")
    say(f"What was there before is kept as {before}. When all is well, drop it:\n")
    say(f"  {stack.how_to_drop(before)}")


if __name__ == "__main__":
    main()
