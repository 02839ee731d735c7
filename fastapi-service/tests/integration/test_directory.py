import asyncio
import os
import signal
from time import monotonic, sleep

import pytest
from sqlalchemy.exc import OperationalError

from ratelimiter.database import make_engine
from ratelimiter.errors import KeysUnavailable
from ratelimiter.keys import credentials
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.news import KeyNews
from ratelimiter.keys.store import KeyStore


class CountingStore(KeyStore):
    """A store that counts its reads, and can be made to wait."""

    def __init__(self, engine):
        super().__init__(engine)
        self.reads = 0
        self.before_answer = lambda: None

    def find(self, digest):
        self.reads += 1
        found = super().find(digest)
        self.before_answer()
        return found


@pytest.fixture
def store(database):
    engine = make_engine(database.api_url, pool_size=4)
    yield CountingStore(engine)
    engine.dispose()


@pytest.fixture
async def directory(database, store, eventually):
    directory = KeyDirectory(store, KeyNews(database.api_url))
    await directory.start()
    await eventually(lambda: directory._edition > 0)  # the first news is that anything may have changed
    yield directory
    await directory.stop()


@pytest.fixture
def insert(database):
    """Insert a key as psql would; returns its id and secret."""

    def insert_key(tier="free", **columns):
        secret = credentials.generate()
        columns |= {"name": "test", "digest": credentials.digest(secret), "hint": credentials.hint(secret)}
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        [(key_id,)] = database.sql(
            f"INSERT INTO api_key ({names}, tier_id)"  # noqa: S608  # columns named here
            f" SELECT {marks}, id FROM tier WHERE name = %s RETURNING id",
            *columns.values(),
            tier,
        )
        return key_id, secret

    return insert_key


async def test_a_key_is_read_once_however_many_ask(directory, store, insert, eventually):
    edition = directory._edition
    _, secret = insert()
    await eventually(lambda: directory._edition > edition)
    records = await asyncio.gather(*(directory.get(secret) for _ in range(50)))
    assert len(set(records)) == 1
    assert store.reads == 1
    await directory.get(secret)
    assert store.reads == 1


async def test_limits_are_the_keys_own_else_its_tiers(directory, insert, database):
    database.sql("UPDATE tier SET burst = 20 WHERE name = 'basic'")
    cases = [
        (insert("free"), (100, None)),
        (insert("basic"), (1000, 20)),
        (insert("basic", requests_per_hour=5000), (5000, 20)),
        (insert("basic", burst=7), (1000, 7)),
    ]
    for (_, secret), expected in cases:
        record = await directory.get(secret)
        assert (record.requests_per_hour, record.burst) == expected


async def test_the_subject_is_the_root_of_the_chain(directory, insert):
    root, _ = insert()
    second, _ = insert(replaces_id=root)
    _, newest = insert(replaces_id=second)
    assert (await directory.get(newest)).subject == root


async def test_an_unknown_key_is_remembered_until_it_is_issued(
    directory, store, insert, database, eventually
):
    secret = credentials.generate()
    assert await directory.get(secret) is None
    assert await directory.get(secret) is None
    assert store.reads == 1
    database.sql(
        "INSERT INTO api_key (name, hint, digest, tier_id) VALUES ('late', 'x', %s, 1)",
        credentials.digest(secret),
    )
    await eventually(lambda: directory.get(secret))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("revoked_at = now()", lambda record: record.is_revoked),
        ("is_active = false", lambda record: not record.is_active),
        ("expires_at = now()", lambda record: record.expires_at is not None),
        ("tier_id = (SELECT id FROM tier WHERE name = 'pro')", lambda record: record.tier == "pro"),
        ("requests_per_hour = 7", lambda record: record.requests_per_hour == 7),
        ("burst = 3", lambda record: record.burst == 3),
    ],
)
async def test_an_edit_by_sql_arrives_within_a_second(directory, insert, database, eventually, change, seen):
    key_id, secret = insert()
    assert not seen(await directory.get(secret))
    database.sql(f"UPDATE api_key SET {change} WHERE id = %s", key_id)  # noqa: S608  # named above
    edited = monotonic()

    async def arrived():
        return seen(await directory.get(secret))

    await eventually(arrived)
    assert monotonic() - edited < 1


async def test_an_edit_of_a_tier_arrives_at_all_its_keys(directory, store, insert, database, eventually):
    secrets = [insert("basic")[1] for _ in range(3)]
    for secret in secrets:
        await directory.get(secret)
    reads = store.reads
    database.sql("UPDATE tier SET requests_per_hour = 77 WHERE name = 'basic'")

    async def arrived():
        return [(await directory.get(secret)).requests_per_hour for secret in secrets] == [77] * 3

    await eventually(arrived)
    assert store.reads == reads, "all are read again in one query"


async def test_a_revalidation_that_failed_is_tried_again(directory, store, insert, database, eventually):
    _, secret = insert("basic")
    await directory.get(secret)
    find_all, failures = store.find_all, [RuntimeError("unforeseen"), OperationalError("away", None, None)]

    def fail_twice(ids):
        if failures:
            raise failures.pop()
        return find_all(ids)

    store.find_all = fail_twice
    database.sql("UPDATE tier SET requests_per_hour = 77 WHERE name = 'basic'")

    async def arrived():
        return (await directory.get(secret)).requests_per_hour == 77

    await eventually(arrived)
    assert failures == []


async def test_a_flood_of_unknown_keys_is_bounded_and_does_not_hold_up_an_edit(
    directory, store, insert, database, eventually
):
    _, secret = insert("basic")
    await directory.get(secret)
    store.before_answer = lambda: sleep(0.2)
    flood = asyncio.gather(
        *(directory.get(credentials.generate()) for _ in range(400)), return_exceptions=True
    )
    await asyncio.sleep(0.1)
    assert len(directory._lookups) <= 256
    database.sql("UPDATE tier SET requests_per_hour = 77 WHERE name = 'basic'")
    edited = monotonic()

    async def arrived():
        return (await directory.get(secret)).requests_per_hour == 77

    await eventually(arrived)
    assert monotonic() - edited < 1
    store.before_answer = lambda: None
    answers = {type(result) for result in await flood}
    assert KeysUnavailable in answers
    assert answers <= {KeysUnavailable, type(None)}


@pytest.mark.parametrize("column", ["expires_at", "revoked_at"])
async def test_a_moment_that_python_cannot_hold_spoils_no_key(directory, insert, database, column):
    _, healthy = insert()
    database.sql("ALTER TABLE api_key DROP CONSTRAINT api_key_expires_at_check")
    _, odd = insert(**{column: "infinity"})
    assert (await directory.get(odd)).is_active
    assert await directory.get(healthy)


async def test_what_was_read_before_the_news_is_not_cached(directory, store, insert, database, eventually):
    key_id, secret = insert()
    edits = [lambda: database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)]

    def edit_between_read_and_answer():
        if edits:
            edition = directory._edition  # before the edit, or its news may have come by then
            edits.pop()()
            deadline = monotonic() + 5
            while directory._edition == edition and monotonic() < deadline:
                sleep(0.001)  # the loop hears of the edit while this thread still holds the old record

    store.before_answer = edit_between_read_and_answer
    assert (await directory.get(secret)).is_revoked
    assert store.reads == 2


async def test_without_postgres_cached_keys_work_and_others_are_unavailable(
    directory, insert, database, eventually
):
    _, known = insert()
    key_id, other = insert()
    await directory.get(known)
    await directory.get(other)
    with database.away():
        await asyncio.sleep(1.5)
        assert (await directory.get(known)).is_active
        with pytest.raises(KeysUnavailable) as raised:
            await directory.get(credentials.generate())
        assert raised.value.headers == {"Retry-After": "2"}
    database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)

    async def refused():
        return (await directory.get(other)).is_revoked

    await eventually(refused)
    assert not (await directory.get(known)).is_revoked


async def test_news_missed_while_the_connection_was_cut_are_made_up_for(
    directory, insert, database, eventually
):
    key_id, secret = insert()
    await directory.get(secret)
    database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'ratelimiter-key-news' AND datname = %s",
        database.name,
    )
    database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)

    async def refused():
        return (await directory.get(secret)).is_revoked

    await eventually(refused, 5)


async def test_a_connection_that_hangs_is_noticed_and_keys_are_revalidated(
    directory, insert, database, eventually
):
    key_id, secret = insert()
    await directory.get(secret)
    [(pid,)] = database.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'ratelimiter-key-news' AND datname = %s",
        database.name,
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(1.5)
        database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)

        async def refused():
            return (await directory.get(secret)).is_revoked

        await eventually(refused)
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_the_caches_are_bounded(directory, insert, monkeypatch, eventually):
    monkeypatch.setattr("ratelimiter.keys.directory.MAX_KEYS", 3)
    monkeypatch.setattr("ratelimiter.keys.directory.MAX_UNKNOWN", 3)
    secrets = [insert()[1] for _ in range(5)]

    async def full():
        # The news that a key is new drops it again, and may come late.
        for secret in secrets:
            await directory.get(secret)
            await directory.get(credentials.generate())
            assert len(directory._keys) == len(directory._digests) <= 3
            assert len(directory._unknown) <= 3
        return len(directory._keys) == 3

    await eventually(full)
