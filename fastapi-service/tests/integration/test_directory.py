import asyncio
import os
import signal
from collections import Counter
from time import monotonic, sleep

import pytest
from sqlalchemy.exc import OperationalError

from ratelimiter import metrics
from ratelimiter.database import make_engine
from ratelimiter.errors import KeysUnavailable
from ratelimiter.keys import credentials, foreign
from ratelimiter.keys.copies import KeyCopies
from ratelimiter.keys.directory import LOOKUP_INTERVAL_SECONDS, MAX_READS, KeyDirectory
from ratelimiter.keys.news import KeyNews
from ratelimiter.keys.store import KeyStore


class CountingStore(KeyStore):
    """A store that counts its reads, and can be made to wait."""

    def __init__(self, engine):
        super().__init__(engine)
        self.reads = 0
        self.before_answer = lambda: None

    def find(self, digests):
        self.reads += 1
        found = super().find(digests)
        self.before_answer()
        return found


@pytest.fixture
def store(database):
    engine = make_engine(database.api_url, pool_size=4)
    yield CountingStore(engine)
    engine.dispose()


@pytest.fixture
async def directory(database, store, redis, eventually):
    directory = KeyDirectory(store, KeyNews(database.api_url), KeyCopies(redis))
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


async def test_every_key_of_a_chain_has_the_limits_of_the_newest_and_the_rest_of_its_own(directory, insert):
    root, oldest = insert("free", burst=5, is_active=False)
    second, older = insert(
        "basic", requests_per_hour=2000, expires_at="2090-01-01T00:00:00Z", replaces_id=root
    )
    third, newest = insert("pro", burst=9, replaces_id=second)
    records = [await directory.get(secret) for secret in (oldest, older, newest)]
    assert [(r.tier, r.requests_per_hour, r.burst, r.subject) for r in records] == [
        ("pro", 10_000, 9, root)
    ] * 3
    assert [(r.id, r.is_active, r.expires_at) for r in records] == [
        (root, False, None),
        (second, True, 3_786_912_000.0),
        (third, True, None),
    ]
    assert [r.digest for r in records] == [credentials.digest(secret) for secret in (oldest, older, newest)]


async def test_limits_are_those_of_the_newest_keys_tier_with_its_own_numbers_laid_over(
    directory, insert, database
):
    database.sql(
        "INSERT INTO tier_limit (tier_id, name, requests, window_seconds, burst, period, endpoint_prefix,"
        " is_shadow) SELECT id, added.* FROM tier, (VALUES ('second', 10, 1, 20, NULL, NULL, false),"
        " ('monthly', 1000, NULL, NULL, 'month', NULL, true),"
        " ('exports', 5, 3600, NULL, NULL, '/export', false)) AS added WHERE tier.name = 'pro'"
    )
    root, oldest = insert("free")
    second, newest = insert("pro", replaces_id=root)
    _, other = insert("pro")
    _, plain = insert("basic")
    own = "INSERT INTO key_limit (api_key_id, name, requests, burst) VALUES (%s, %s, %s, %s)"
    for key_id, *limit in (
        (second, "second", 30, None),
        (second, "exports", 50, 60),
        (second, "none_of_the_tiers", 1, None),
        (root, "monthly", 1, None),
    ):
        database.sql(own, key_id, *limit)
    exports = ("exports", 5, 3600, None, None, "/export", False)
    monthly = ("monthly", 1000, None, None, "month", None, True)
    of_the_chain = (
        ("second", 30, 1, 20, None, None, False),
        monthly,
        ("exports", 50, 3600, 60, *exports[4:]),
    )
    records = [await directory.get(secret) for secret in (oldest, newest, other, plain)]
    assert [record.limits for record in records] == [
        of_the_chain,
        of_the_chain,
        (("second", 10, 1, 20, None, None, False), monthly, exports),
        (),
    ]
    assert records[0].limits is records[1].limits


async def test_keys_read_again_together_have_the_limits_of_the_newest_of_their_chains(store, insert):
    single, _ = insert("basic", burst=3)
    root, _ = insert("free")
    second, _ = insert("pro", burst=7, replaces_id=root)
    found = {record.id: record for record in store.find_all([single, root, second, 999])}
    assert {key_id: (r.subject, r.tier, r.burst) for key_id, r in found.items()} == {
        single: (single, "basic", 3),
        root: (root, "pro", 7),
        second: (root, "pro", 7),
    }


@pytest.fixture
def followed(directory, eventually):
    """Wait until a key's tier, rate and burst are as expected: a second at most."""

    async def follow(secret, *expected):
        async def arrived():
            record = await directory.get(secret)
            return (record.tier, record.requests_per_hour, record.burst) == expected

        await eventually(arrived, 1)

    return follow


async def test_a_cached_key_follows_the_newest_of_its_chain_within_a_second(
    directory, insert, database, followed
):
    root, oldest = insert("free")
    await followed(oldest, "free", 100, None)
    second, older = insert("basic", replaces_id=root)
    await followed(oldest, "basic", 1000, None)
    third, _ = insert("pro", replaces_id=second)
    await followed(oldest, "pro", 10_000, None)
    await followed(older, "pro", 10_000, None)
    database.sql("UPDATE api_key SET requests_per_hour = 50, burst = 3 WHERE id = %s", third)
    await followed(oldest, "pro", 50, 3)
    await followed(older, "pro", 50, 3)
    database.sql("UPDATE tier SET name = 'gold' WHERE name = 'pro'")
    await followed(oldest, "gold", 50, 3)


@pytest.mark.parametrize("state", ["revoked_at = now()", "is_active = false", "expires_at = now()"])
async def test_a_newest_key_that_may_not_be_used_still_gives_the_limits(
    directory, insert, database, followed, state
):
    root, old = insert("free")
    second, _ = insert("pro", burst=3, replaces_id=root)
    await followed(old, "pro", 10_000, 3)
    database.sql(f"UPDATE api_key SET {state}, burst = 4 WHERE id = %s", second)  # noqa: S608  # named above
    await followed(old, "pro", 10_000, 4)
    assert (await directory.get(old)).refusal(0, None) is None


async def test_the_limits_of_a_key_that_was_replaced_do_not_count(directory, insert, database, followed):
    root, old = insert("free")
    _, new = insert("basic", replaces_id=root)
    await followed(old, "basic", 1000, None)
    database.sql(
        "UPDATE api_key SET burst = 3, is_active = false,"
        " tier_id = (SELECT id FROM tier WHERE name = 'pro') WHERE id = %s",
        root,
    )
    edited = monotonic()
    while (await directory.get(old)).is_active:
        assert monotonic() - edited < 1, "the edit has not come"
        await asyncio.sleep(0.01)
    await followed(old, "basic", 1000, None)
    await followed(new, "basic", 1000, None)


async def test_keys_that_sql_made_replace_each_other_in_a_ring_are_nobodys(directory, database):
    one, other = credentials.generate(), credentials.generate()
    database.sql(
        "INSERT INTO api_key (id, name, hint, digest, tier_id, replaces_id) OVERRIDING SYSTEM VALUE"
        " VALUES (901, 'one', 'x', %s, 1, 902), (902, 'other', 'x', %s, 1, 901)",
        credentials.digest(one),
        credentials.digest(other),
    )
    assert [await directory.get(secret) for secret in (one, other)] == [None, None]


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


async def test_queries_are_bounded_however_many_unknown_keys_come(directory, store, insert):
    _, secret = insert()
    began = monotonic()
    reads, answers = store.reads, Counter()
    for _ in range(40):
        flood = [directory.get(credentials.generate()) for _ in range(50)]
        answers.update(type(each) for each in await asyncio.gather(*flood, return_exceptions=True))
        await asyncio.sleep(0.01)
    assert answers[type(None)] > 0
    assert await directory.get(secret)
    most = 1 + (monotonic() - began) / LOOKUP_INTERVAL_SECONDS
    # News of the new key may make a read be repeated.
    assert 1 <= store.reads - reads <= most + MAX_READS


async def test_who_is_looked_up_together_is_told_apart(directory, store, insert):
    known = [insert()[1] for _ in range(5)]
    await asyncio.sleep(0.2)  # their news have come
    asked = [*known, *(credentials.generate() for _ in range(5))]
    reads = store.reads
    records = await asyncio.gather(*(directory.get(secret) for secret in asked))
    assert [record and record.digest for record in records] == [
        *(credentials.digest(secret) for secret in known),
        *[None] * 5,
    ]
    assert store.reads - reads <= MAX_READS


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


async def test_keys_that_a_restore_took_away_or_numbered_anew_are_dropped(
    directory, insert, database, eventually
):
    (first, first_secret), (second, second_secret), (third, third_secret) = insert(), insert(), insert()
    for secret in (first_secret, second_secret, third_secret):
        await directory.get(secret)
    # As a backup would have it in which the first is unknown, and the second has its number.
    database.sql("ALTER TABLE api_key DISABLE TRIGGER USER")
    database.sql("DELETE FROM api_key WHERE id = %s", first)
    database.sql("UPDATE api_key SET id = %s WHERE id = %s", first, second)
    database.sql("ALTER TABLE api_key ENABLE TRIGGER USER")
    with database.away():
        pass
    await eventually(lambda: directory.cached(first_secret) is None)
    assert await directory.get(first_secret) is None
    assert directory.cached(second_secret).id == first
    assert directory.cached(third_secret).id == third
    database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", first)

    # Either forgotten, or read again at the reconnection, if that comes only now: refused both ways.
    async def refused():
        return (await directory.get(second_secret)).is_revoked

    await eventually(refused)


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


async def test_nonsense_on_the_channel_ends_no_listening_and_hides_no_news(
    directory, insert, database, eventually
):
    def disconnected():
        return metrics.KEY_NEWS.labels("disconnected")._value.get()

    key_id, secret = insert()
    await directory.get(secret)
    before = disconnected()
    for payload in ("", "-1", "1.5", "٣", " 7", "9" * 19, "9" * 5000, "all\n", "\x1b[2J", "x" * 7999):
        database.sql("SELECT pg_notify('key_news', %s)", payload)
    database.sql("UPDATE api_key SET revoked_at = now() WHERE id = %s", key_id)

    async def is_revoked():
        return (await directory.get(secret)).is_revoked

    await eventually(is_revoked)
    assert disconnected() == before


FOREIGN = (
    "INSERT INTO foreign_format (prefix, min_length, max_length, alphabet) VALUES ('sk_live_', 32, 32, 'hex')"
)
FOREIGN_KEY = "sk_live_" + "0af9" * 6  # pragma: allowlist secret


async def test_garbage_is_looked_up_only_where_it_has_the_format_of_imported_keys(
    directory, store, database, eventually
):
    await eventually(lambda: directory._foreign is not foreign.ANY)
    garbage = ["", "short", "é" * 32, "rlk_live_" + "a" * 49, "x" * 32, "sk_live_" + "g" * 24, "x" * 300]
    assert [await directory.get(text) for text in [*garbage, FOREIGN_KEY]] == [None] * 8
    assert store.reads == 0
    database.sql(FOREIGN)
    await eventually(lambda: directory._foreign.include(FOREIGN_KEY))
    assert [await directory.get(text) for text in garbage] == [None] * 7
    assert store.reads == 0
    assert await directory.get(FOREIGN_KEY) is None
    assert await directory.get(FOREIGN_KEY) is None
    assert store.reads == 1, "a format opens one look-up, and its failure is remembered"


async def test_an_imported_key_is_found_and_its_format_may_go_again(directory, store, database, eventually):
    database.sql(FOREIGN)
    await eventually(lambda: directory._foreign.include(FOREIGN_KEY))
    assert await directory.get(FOREIGN_KEY) is None
    database.sql(
        "INSERT INTO api_key (name, hint, digest, tier_id) VALUES ('foreign', 'sk_live_…', %s, 1)",
        credentials.digest(FOREIGN_KEY),
    )
    await eventually(lambda: directory.get(FOREIGN_KEY))
    database.sql("DELETE FROM foreign_format")
    await eventually(lambda: not directory._foreign.include(FOREIGN_KEY))
    assert directory.cached(FOREIGN_KEY), "a key that is known needs no format"


async def test_a_thousand_new_keys_are_told_one_by_one_and_more_at_once(directory, database, eventually):
    heard = {event: metrics.KEY_NEWS.labels(event)._value for event in ("key", "all")}
    await eventually(lambda: directory._foreign is not foreign.ANY)
    insert = (
        "INSERT INTO api_key (name, hint, digest, tier_id)"
        " SELECT 'many', 'x', sha256(convert_to(%s || n, 'UTF8')), 1 FROM generate_series(1, %s) AS n"
    )
    for count, (keys, everything) in {1000: (1000, 0), 1001: (0, 1)}.items():
        before = {event: value.get() for event, value in heard.items()}
        edition = directory._edition
        database.sql(insert, f"{count}-", count)
        await eventually(
            lambda before=before, keys=keys, everything=everything: (
                heard["key"].get() == before["key"] + keys
                and heard["all"].get() == before["all"] + everything
            )
        )
        await eventually(lambda edition=edition: directory._edition > edition)
