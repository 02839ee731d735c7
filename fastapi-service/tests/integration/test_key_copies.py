import asyncio
import json
from contextlib import asynccontextmanager

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimiter import metrics, redis_keys
from ratelimiter.database import make_engine
from ratelimiter.errors import KeysUnavailable
from ratelimiter.keys import copies, credentials, directory
from ratelimiter.keys.copies import KeyCopies
from ratelimiter.keys.directory import KeyDirectory
from ratelimiter.keys.news import KeyNews
from ratelimiter.keys.record import KeyRecord
from ratelimiter.keys.store import KeyStore
from ratelimiter.limiter.fallback import Mode
from ratelimiter.limiter.policy import Policy
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


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A busy machine is no reason to do without a copy."""
    monkeypatch.setattr(copies, "READ_TIMEOUT_SECONDS", 5.0)


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
    key_id, secret = insert()
    networks = "UPDATE api_key SET allowed_cidrs = '{10.0.0.0/8,2001:db8::/32}' WHERE id = %s"
    execute(database.admin_url, networks, key_id)
    async with worker(database.api_url) as first:
        known = await first.get(secret)
        assert list(map(str, known.allowed_cidrs)) == ["10.0.0.0/8", "2001:db8::/32"]
        await copied(secret)
    from_copies = metrics.KEY_LOOKUPS.labels("copy")._value
    before = from_copies.get()
    async with worker() as second:
        assert await second.get(secret) == known
        assert from_copies.get() == before + 1
        with pytest.raises(KeysUnavailable):
            await second.get(insert()[1])


async def test_an_imported_key_is_known_before_the_formats_are(worker, copied, database, eventually):
    key = "sk_live_" + "0af9" * 6  # pragma: allowlist secret
    execute(
        database.admin_url,
        "INSERT INTO foreign_format (prefix, min_length, max_length, alphabet)"
        " VALUES ('sk_live_', 32, 32, 'hex');"
        " INSERT INTO api_key (name, digest, hint, tier_id) VALUES ('foreign', %s, 'sk_live_…', 1)",
        credentials.digest(key),
    )
    async with worker(database.api_url) as first:
        known = await eventually(lambda: first.get(key))
        await copied(key)
    async with worker() as second:
        assert await second.get(key) == known
        assert await second.get("short") is None
        with pytest.raises(KeysUnavailable):
            await second.get("sk_live_" + "1" * 24)


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


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE api_key SET revoked_at = now() WHERE id = %s",
        "UPDATE key_limit SET requests = 7 WHERE api_key_id = %s",
        "DELETE FROM key_limit WHERE api_key_id = %s",
    ],
)
async def test_a_key_edited_while_no_worker_listened_loses_its_copy(worker, insert, copied, database, edit):
    key_id, secret = insert()
    database.sql("INSERT INTO key_limit (api_key_id, name, requests) VALUES (%s, 'monthly', 9)", key_id)
    database.sql("ALTER TABLE api_key DISABLE TRIGGER api_key_touch")
    database.sql("UPDATE api_key SET updated_at = now() - interval '1 hour' WHERE id = %s", key_id)
    database.sql("ALTER TABLE api_key ENABLE TRIGGER api_key_touch")
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
        await first._catch_up_copies()
    execute(database.admin_url, edit, key_id)
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


async def test_a_key_that_a_restore_took_away_loses_its_copy(worker, insert, copied, database):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
        database.sql("ALTER TABLE api_key DISABLE TRIGGER USER")
        database.sql("DELETE FROM api_key WHERE id = %s", key_id)
        with database.away():
            pass
        await copied(secret, there=False)


async def test_the_keys_taken_from_copies_are_bounded(worker, insert, copied, database, monkeypatch):
    secrets = [insert()[1] for _ in range(5)]
    async with worker(database.api_url) as first:
        for secret in secrets:
            await first.get(secret)
            await copied(secret)
    monkeypatch.setattr(directory, "MAX_KEYS", 3)
    async with worker() as second:
        for secret in secrets:
            await second.get(secret)
        assert len(second._keys) == len(second._digests) == 3


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
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
    owner = psycopg2.connect(database.admin_url)
    async with worker(database.api_url) as second:
        with owner.cursor() as cursor:
            cursor.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
            with monkeypatch.context() as patch:
                patch.setattr(directory, "LOOKUP_TIMEOUT_SECONDS", 0.3)
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


COPY = {
    "id": 7,
    "subject": 7,
    "tier": "free",
    "requests_per_hour": 100,
    "burst": None,
    "limits": [],
    "limits_since": 0.0,
    "fallback": "local",
    "is_active": True,
    "is_revoked": False,
    "expires_at": None,
    "allowed_cidrs": [],
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=5), values, max_size=2),
)
NAMES = st.one_of(st.sampled_from([*COPY, "digest", "self"]), st.text(max_size=5))
NONSENSE = st.one_of(
    st.binary(max_size=60),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(NAMES, VALUES, max_size=3).map(lambda fields: json.dumps(COPY | fields).encode()),
    st.sampled_from([b"[" * 100_000, b'{"id": ' + b"9" * 5000 + b"}"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NONSENSE)
async def test_any_bytes_are_a_copy_that_can_be_served_or_none(redis, text):
    digest = bytes(32)
    await redis.set(redis_keys.key_copy(digest), text)
    record = await KeyCopies(redis).get(digest)
    if record is not None:
        assert record.digest == digest
        assert Policy.of(record.requests_per_hour, record.burst).capacity >= 1
        assert Mode(record.fallback)
        for address in (None, "192.0.2.7"):
            assert record.refusal(0.0, address) is None or isinstance(record.refusal(0.0, address), str)


@pytest.mark.parametrize("mode", Mode)
async def test_a_copy_in_good_order_is_read(redis, mode):
    await redis.set(redis_keys.key_copy(bytes(32)), json.dumps(COPY | {"fallback": mode}))
    expected = KeyRecord(digest=bytes(32), **COPY | {"limits": (), "fallback": mode, "allowed_cidrs": ()})
    assert await KeyCopies(redis).get(bytes(32)) == expected


async def test_a_copy_of_a_version_that_knew_no_networks_is_none(redis):
    """That version would copy a key without its restriction; and it reads no copy that has one."""
    name = redis_keys.key_copy(bytes(32))
    await redis.set(name, json.dumps({field: COPY[field] for field in COPY if field != "allowed_cidrs"}))
    assert await KeyCopies(redis).get(bytes(32)) is None
    for networks in (None, "10.0.0.0/8", ["10.0.0.1/8"], [1]):
        await redis.set(name, json.dumps(COPY | {"allowed_cidrs": networks}))
        assert await KeyCopies(redis).get(bytes(32)) is None


async def test_limits_are_copied_and_shared_and_a_copy_that_knows_none_is_none(
    worker, insert, copied, database, redis
):
    database.sql(
        "INSERT INTO tier_limit (tier_id, name, requests, window_seconds, burst, period, endpoint_prefix)"
        " SELECT id, added.name, 5, window_seconds, added.burst, period, prefix FROM tier,"
        " (VALUES ('minute', 60, 7, NULL, NULL), ('monthly', NULL, NULL, 'month', '/export'))"
        " AS added (name, window_seconds, burst, period, prefix) WHERE tier.name = 'free'"
    )
    secrets = [insert()[1] for _ in range(2)]
    async with worker(database.api_url) as first:
        known = [await first.get(secret) for secret in secrets]
        for secret in secrets:
            await copied(secret)
    assert known[0].limits is known[1].limits
    assert [limit.name for limit in known[0].limits] == ["minute", "monthly"]
    digests = [record.digest for record in known]
    copies = [await KeyCopies(redis).get(digest) for digest in digests]
    assert copies == known
    assert copies[0].limits is copies[1].limits
    name = redis_keys.key_copy(digests[0])
    copy = json.loads(await redis.get(name))
    minute, monthly = copy["limits"]
    without = {field: copy[field] for field in copy if field != "limits"}
    bad = [
        [*minute[:1], 0, *minute[2:]],
        [*minute[:2], None, *minute[3:]],
        [*minute[:2], 5, *monthly[3:]],
        minute[:3],
    ]
    for other in (without, *(copy | {"limits": [limit]} for limit in bad), copy | {"limits": None}):
        await redis.set(name, json.dumps(other))
        assert await KeyCopies(redis).get(digests[0]) is None


async def test_a_copy_that_cannot_be_read_lets_nobody_pass_and_is_counted(worker, redis):
    read_before = metrics.KEY_LOOKUPS.labels("malformed_copy")._value.get()
    secret = credentials.generate()
    name = redis_keys.key_copy(credentials.digest(secret))
    async with worker() as second:
        await redis.set(name, json.dumps(COPY | {"is_revoked": "no"}))
        with pytest.raises(KeysUnavailable):
            await second.get(secret)
        await redis.delete(name)
        await redis.rpush(name, "a list")
        with pytest.raises(KeysUnavailable):
            await second.get(secret)
    assert metrics.KEY_LOOKUPS.labels("malformed_copy")._value.get() > read_before


async def test_a_copy_that_claims_another_keys_number_is_not_believed(
    worker, insert, copied, database, redis, eventually
):
    key_id, known = insert()
    stranger = credentials.generate()
    async with worker(database.api_url) as first:
        await first.get(known)
        with database.away():
            await redis.set(
                redis_keys.key_copy(credentials.digest(stranger)), json.dumps(COPY | {"id": key_id})
            )
            with pytest.raises(KeysUnavailable):
                await first.get(stranger)
        execute(database.admin_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)

        async def is_revoked():
            return (await first.get(known)).is_revoked

        await eventually(is_revoked)


@pytest.mark.parametrize("text", ["nonsense", b"\xff", "", "0001-01-01T00:00:00+14:00", "2026-01-01"])
async def test_copies_are_caught_up_though_nobody_knows_since_when(
    worker, insert, copied, database, redis, text
):
    key_id, secret = insert()
    async with worker(database.api_url) as first:
        await first.get(secret)
        await copied(secret)
    execute(database.admin_url, "UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)
    await redis.set(redis_keys.KEYS_KNOWN_UNTIL, text)
    async with worker(database.api_url):
        await copied(secret, there=False)
