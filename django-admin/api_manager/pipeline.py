"""How the way from the stream to the log is, as PostgreSQL knows it: by the drain's lock and its cursors.

How many records wait only Redis knows, and so the API's ``/health``, which ``api_client`` asks; how many were
lost tells the drain's metrics. A drain that cannot reach Redis gives its lock up, so that is seen here, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from django.db import connection

from .models import DrainCursor

MAX_LAG: Final = timedelta(seconds=10)
"""A record that took longer into the log was held up: a drain at work takes a second or so."""
RECENT: Final = timedelta(minutes=1)
"""What was copied longer ago says nothing of how the drain keeps up now."""
HANDOVER: Final = timedelta(seconds=15)
"""For so long no drain need lead: one takes over from another."""

LOCK: Final = "hashtext('ratelimiter drain')"
"""The first number of the lock that the drain of a shard holds; the second is the shard."""

# Of a lock of two numbers, which objsubid 2 says, they are classid and objid.
_LEADERS: Final = f"""
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = {LOCK}::oid
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # noqa: S608  # ours


class State(Enum):
    """How the pipeline is; each with the word for it."""

    HEALTHY = "healthy"
    BEHIND = "behind"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Pipeline:
    """The pipeline at a moment.

    ``undrained``: the shards that no drain copies. ``lag``: how long the newest record of the slowest shard
    had waited when it was copied, if that was within a minute. ``copied_at``: when something was last copied;
    it also stands still when nothing comes. ``newest_record``: when the newest record that was copied was
    made, by Redis's clock. The last two are None before the first.
    """

    state: State
    undrained: Sequence[int]
    lag: timedelta
    copied_at: datetime | None
    newest_record: datetime | None

    @property
    def lag_text(self) -> str:
        """The lag in its two largest units."""
        minutes, seconds = divmod(max(0, round(self.lag.total_seconds())), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes} min"
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def pipeline(now: datetime) -> Pipeline:
    """How the pipeline is now."""
    cursors = list(DrainCursor.objects.all())
    made_at = {cursor.shard: _made_at(cursor) for cursor in cursors if cursor.epoch}
    copied_at = {cursor.shard: cursor.updated_at for cursor in cursors if cursor.epoch}
    lag = max(
        (copied_at[shard] - made for shard, made in made_at.items() if now - copied_at[shard] <= RECENT),
        default=timedelta(),
    )
    # Where a shard's cursor moves, some drain copies it, though it may lead without the lock.
    drained = _leaders() | {shard for shard, time in copied_at.items() if now - time <= HANDOVER}
    undrained = sorted({cursor.shard for cursor in cursors} - drained)
    if undrained or not cursors:
        state = State.STOPPED
    elif lag > MAX_LAG:
        state = State.BEHIND
    else:
        state = State.HEALTHY
    newest = max(made_at.values(), default=None)
    return Pipeline(state, undrained, lag, max(copied_at.values(), default=None), newest)


def copied_until() -> datetime | None:
    """Up to when every shard's stream is copied for certain, by Redis's clock; None before that is known.

    It stands still while no request comes.
    """
    cursors = list(DrainCursor.objects.all())
    if not cursors or not all(cursor.epoch for cursor in cursors):
        return None
    return min(map(_made_at, cursors))


def _leaders() -> set[int]:
    """The shards that have a drain which holds their lock."""
    with connection.cursor() as cursor:
        cursor.execute(_LEADERS)
        return {shard for (shard,) in cursor.fetchall()}


def _made_at(cursor: DrainCursor) -> datetime:
    """When the last entry copied was made: a stream's ids begin with milliseconds since 1970."""
    milliseconds, _, _ = cursor.last_id.partition("-")
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
