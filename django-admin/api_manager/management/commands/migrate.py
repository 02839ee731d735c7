"""``manage.py migrate``: Django's own, which does not make traffic queue behind a migration that waits."""

import time
from argparse import ArgumentTypeError
from contextlib import suppress
from math import ceil, isfinite
from typing import Any, Final

from django.core.management import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from psycopg2.errorcodes import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE

LOCK_TIMEOUT_SECONDS: Final = 2.0
ATTEMPTS: Final = 10

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 8.0
_WITHOUT_LOCKS: Final = frozenset({LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED})

# PostgreSQL hides how old another role's transaction is; such a one is named whatever its age.
_HOLDERS: Final = """
    SELECT holder.pid, coalesce(holder.usename, holder.backend_type, 'unknown'),
           string_agg(DISTINCT relation.relname, ', ' ORDER BY relation.relname)
    FROM pg_locks AS held
    JOIN pg_class AS relation ON relation.oid = held.relation
    JOIN pg_stat_activity AS holder ON holder.pid = held.pid
    WHERE held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p')
      AND held.pid <> pg_backend_pid()
      AND coalesce(holder.xact_start < clock_timestamp() - make_interval(secs => %s), true)
    GROUP BY 1, 2
    ORDER BY 1
"""


class Command(migrate.Command):
    """A migration waits ``--lock-timeout`` for a lock, then gives way and begins anew: ``--attempts`` in all.

    Whoever comes after a waiting ``ALTER TABLE`` waits behind it, even to read. So one long transaction on
    a table would stop all traffic on it for as long as it lasts. Here the migration is rolled back instead,
    lets the others pass for some seconds, and tries again. How long its statements run once it has its
    locks is not limited.

    A migration that is not atomic waits without limit. It builds indexes ``CONCURRENTLY``, which stands in
    nobody's way while it waits, and would leave an invalid index if it was cut short.

    Raises:
        CommandError: no attempt got its locks. What was applied before stays, the migration that failed has
            changed nothing, and the same command goes on from there.

    """

    _connection: BaseDatabaseWrapper
    _lock_timeout_seconds: float
    _current: Migration | None

    def add_arguments(self, parser: CommandParser) -> None:
        """Django's arguments, and ours."""
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout",
            type=_seconds,
            default=LOCK_TIMEOUT_SECONDS,
            metavar="SECONDS",
            help=f"how long a migration may wait for a lock; default: {LOCK_TIMEOUT_SECONDS:g}",
        )
        parser.add_argument(
            "--attempts",
            type=_times,
            default=ATTEMPTS,
            help=f"how often to try before giving up; default: {ATTEMPTS}",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrates, and begins anew where a lock could not be had."""
        self._connection = connections[options["database"]]
        self._lock_timeout_seconds = options["lock_timeout"]
        attempts: int = options["attempts"]
        try:
            for attempt in range(1, attempts + 1):
                self._current = None
                self._limit_waiting(self._lock_timeout_seconds)
                try:
                    super().handle(*args, **options)
                except OperationalError as exc:
                    if getattr(exc.__cause__, "pgcode", None) not in _WITHOUT_LOCKS:
                        raise
                    self._give_way(attempt, attempts, exc)
                else:
                    return
        finally:
            with suppress(Error):  # a connection that is gone has no limit
                self._limit_waiting(None)

    def migration_progress_callback(
        self,
        action: str,
        migration: Migration | None = None,
        fake: bool = False,  # noqa: FBT001, FBT002  # Django's signature
    ) -> None:
        """Sets the limit of the migration that comes now, and says what Django says."""
        if migration is not None and action.endswith("_start"):
            self._current = migration
            self._limit_waiting(self._lock_timeout_seconds if migration.atomic else 0)
        super().migration_progress_callback(action, migration, fake)

    def _limit_waiting(self, seconds: float | None) -> None:
        """Set the session's lock_timeout; 0 is no limit, None what the role and the server have set."""
        with self._connection.cursor() as cursor:
            if seconds is None:
                cursor.execute("RESET lock_timeout")
            else:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{ceil(seconds * 1000)}ms"])

    def _give_way(self, attempt: int, attempts: int, cause: OperationalError) -> None:
        """Pause before the next attempt; raises `CommandError` where there is to be none."""
        if self.verbosity >= 1:
            self.stdout.write()  # ends the line "Applying …"
        what = str(self._current) if self._current else "The migration"
        failed = f"{what} did not get its locks within {self._lock_timeout_seconds:g} s{self._holders()}"
        if self._current and not self._current.atomic:
            raise CommandError(
                f"{failed}. It is not atomic: see what it has done before you go on."
            ) from cause
        if attempt == attempts:
            raise CommandError(
                f"{failed}. Given up after {attempts} attempt(s); it has changed nothing."
                " End the process (SELECT pg_terminate_backend(…)) or wait for it, then migrate again."
            ) from cause
        pause_seconds = min(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), _LONGEST_PAUSE_SECONDS)
        self.stderr.write(
            f"{failed}. Attempt {attempt + 1} of {attempts} in {pause_seconds:g} s.", self.style.WARNING
        )
        time.sleep(pause_seconds)

    def _holders(self) -> str:
        """Who may be in the way, as the end of a sentence; empty when they have gone by now."""
        with self._connection.cursor() as cursor:
            cursor.execute(_HOLDERS, [self._lock_timeout_seconds])
            said = [f"process {pid} ({user}) on {tables}" for pid, user, tables in cursor.fetchall()]
        return f"; locks are held by {' and '.join(said)}" if said else ""


def _seconds(text: str) -> float:
    value = float(text)  # argparse says what is wrong with a text that is no number
    if not (isfinite(value) and value > 0):
        raise ArgumentTypeError("expected a number of seconds above 0")
    return value


def _times(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ArgumentTypeError("expected a whole number from 1")
    return value
