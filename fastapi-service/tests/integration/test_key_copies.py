import asyncio
from contextlib import asynccontextmanager

import psycopg2
import pytest

from ratelimiter import metrics, redis_keys
from ratelimiter.database import make_engine
from ratelimiter.errors import KeysUnavailable
from ratelimiter.keys import credentials, directory
from ratelimiter.keys.copies import KeyCopies
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.news import KeyNews
from ratelimiter.keys.store import KeyStore
from tests.servers import execute

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def insert(database):
    def insert_key(name="test"):
        secret = credentials.generate()
        [(key_id,)] = execute(
            database.admin_url,
            "INSERT INTO api_key (name, digest, hint, tier_id)"
            " SELECT %s, %s, %s, id FROM tier WHERE name = 'free' RETURNING id",
            name,
            credentials.digest(secret),
            credentials.hint(secret),
        )
        return key_id, secret

    return insert_key


@pytest.fixture
def worker(redis):
    """A worker's directory; without an address it finds no PostgreSQL."""

    @asynccontextmanager
    async def start(url=NOWHERE):
        engine = make_engine(url, pool_size=6)
        worker = KeyDirectory(KeyStore(engine), KeyNews(url), KeyCopies(redis))
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()
            engine.dispose()

    return start


@pytest.fixture
def copied(redis, eventually):
    """Wait until a key has a copy, or has none."""

    async def wait_until_copied(secret, *, there=True):
        name = redis_keys.key_copy(credentials.digest(secret))

        async def is_so():
            return bool(await redis.exists(name)) is there

        await eventually(is_so)

    return wait_until_copied


async def test_a_worker_that_starts_without_postgres_knows_the_keys_in_use(worker, insert, copied, database):
    _, secret = insert()
    async with worker(database.api_url) as first:
        known = await first.get(secret)
        await copied(secret)
    from_copies = metrics.KEY_LOOKUPS.labels("copy")._value
    before = from_copies.get()
    async with worker() as second:
        assert await second.get(secret) == known
        assert from_copies.get() == before + 1
        with pytest.raises(KeysUnavailable):
            await second.get(insert()[1])


async def test_a_revoked_key_does_not_pass_by_its_copy(worker, insert, copied, database, eventually):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
        execute(database.admin_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)
        await copied(secret, there=False)
        assert (await first.get(secret)).is_revoked
        await copied(secret)
    async with worker() as second:
        assert (await second.get(secret)).is_revoked


async def test_a_key_revoked_while_no_worker_listened_loses_its_copy(worker, insert, copied, database):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
        await first._catch_up_copies()
    execute(database.admin_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)
    async with worker(database.api_url):
        await copied(secret, there=False)
    async with worker() as third:
        with pytest.raises(KeysUnavailable):
            await third.get(secret)


async def test_a_worker_removes_the_copies_that_others_wrote(worker, insert, copied, database):
    key_id, secret = insert()
    async with worker(database.api_url) as first, worker(database.api_url) as second:
        await first.get(secret)
        await copied(secret)
        first._news._stopping.set()  # it hears no more
        await asyncio.sleep(1.2)
        execute(database.admin_url, "UPDATE api_key SET is_active = false WHERE id = %s", key_id)
        await copied(secret, there=False)
        assert not (await second.get(secret)).is_active


async def test_what_was_edited_and_is_in_use_keeps_a_copy(worker, insert, copied, database, eventually):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await first._catch_up_copies()
        execute(database.admin_url, "UPDATE api_key SET burst = 7 WHERE id = %s", key_id)

        async def is_known():
            return (await first.get(secret)).burst == 7

        await eventually(is_known)
        await first._catch_up_copies()
        await copied(secret)
    async with worker() as second:
        assert (await second.get(secret)).burst == 7


async def test_a_removal_waits_for_redis_to_come_back(worker, insert, copied, database, redis, redis_server):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
        await redis.config_set("appendfsync", "always")
        await redis.set("written", 1)  # and so on the disk, with the copy
        port = redis_server.port
        redis_server.kill()
        execute(database.admin_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)
        await asyncio.sleep(1.5)
        redis_server.start(port=port)
        await copied(secret, there=False)


async def test_a_copy_is_read_again_when_postgres_is_back(
    worker, insert, copied, database, eventually, monkeypatch
):
    monkeypatch.setattr(directory, "LOOKUP_TIMEOUT_SECONDS", 0.3)
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
    owner = psycopg2.connect(database.admin_url)
    async with worker(database.api_url) as second:
        with owner.cursor() as cursor:
            cursor.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            assert (await second.get(secret)).burst is None
            cursor.execute("UPDATE api_key SET burst = 9 WHERE id = %s", (key_id,))
        owner.commit()

        async def is_known():
            return (await second.get(secret)).burst == 9

        await eventually(is_known)
    owner.close()


async def test_no_copy_can_be_used_as_a_key(worker, insert, copied, database, redis):
    _, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
    for name in await redis.keys("*"):
        value = await redis.get(name)
        assert secret.encode() not in name + value
        assert secret[-12:].encode() not in name + value
