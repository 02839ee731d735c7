"""What a killed Redis still held for the log: read from a copy of its file, by a Redis of its own."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from redis import Redis

from local.redis import RedisServer
from ratelimiter.request_log.outbox import BEGINNING, Entry, Outbox
from ratelimiter.request_log.record import Record
from tests.faults.rig import Rig
from tests.waiting import wait_for

from .balance import Account

_ALL: Final = 10**9


def held_records(rig: Rig) -> list[Record]:
    """The records in the file of the rig's Redis, which must not run."""
    copy = Path(f"{rig.redis.folder}-copy")
    shutil.copytree(rig.redis.folder, copy, ignore=shutil.ignore_patterns("lock", "*.log*", "*.conf"))
    try:
        with (
            RedisServer(copy, rig.redis.password) as server,
            Redis.from_url(server.url, protocol=2) as client,
        ):
            wait_for(lambda: not client.info("persistence")["loading"], seconds=60)
            entries = Outbox(client, 0).read(BEGINNING, _ALL, wait_seconds=0.01)
            return [record for entry in entries for record in Entry.parse(*entry).records]
    finally:
        shutil.rmtree(copy)


def gone(rig: Rig, records: Iterable[Record]) -> Mapping[Account, int]:
    """Of these the decisions that never came to the log, by account."""
    held = list(records)
    found = rig.sql(
        "SELECT decision_id FROM request_log WHERE decision_id = ANY(%s)",
        [record.decision_id for record in held],
    )
    logged = {decision_id for (decision_id,) in found}
    lost: Counter[Account] = Counter()
    for record in held:
        if record.decision_id not in logged:
            lost[record.api_key_id, record.endpoint] += record.count
    return lost
