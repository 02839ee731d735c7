"""What the admin simulates is what the limiter does: its terms, its arithmetic, and a recorded run."""

import ast
import asyncio
import itertools
import json
from collections import Counter
from random import Random
from time import monotonic

import httpx
import pytest
from asgi_lifespan import LifespanManager
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.asyncio import Redis

from api_manager.what_if import policy as of_the_admin
from api_manager.what_if import replay
from api_manager.what_if.limiter import DEFAULT, Levels
from api_manager.what_if.limiter import Plan as Simulated
from ratelimiter.app import create_app
from ratelimiter.limiter import decision, shard
from ratelimiter.limiter.plan import Plan
from ratelimiter.limiter.policy import Limit, Period, Policy, Quota
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.request_log import coalescer
from ratelimiter.request_log.record import encode
from ratelimiter.settings import Settings
from tests.servers import ADMIN_API_TOKEN, PROJECT, manage

FOLDERS = (
    PROJECT / "fastapi-service" / "ratelimiter" / "limiter",
    PROJECT / "django-admin" / "api_manager" / "what_if",
)
ANSWERS = "stands"
"""What the API alone needs of its terms: how a level is told to a client."""
subjects = itertools.count(1)

POLICIES = st.builds(Policy.of, st.integers(1, 10**6), st.integers(1, 50), st.sampled_from([1, 60, 3600]))
TERMS = st.one_of(POLICIES, st.builds(Quota, st.integers(1, 60), st.sampled_from(list(Period))))
LIMITS = st.lists(st.tuples(TERMS, st.sampled_from(["", "/a", "/a/b"]), st.booleans()), max_size=4).map(
    lambda found: tuple(
        Limit(f"l{number}", terms, prefix, is_shadow)
        for number, (terms, prefix, is_shadow) in enumerate(found)
    )
)
TAKES = st.lists(
    st.tuples(st.sampled_from(["/a", "/a/b", "/c"]), st.integers(1, 12), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)


def test_the_terms_are_the_same_code():
    def code(path):
        module = ast.parse(path.read_text(encoding="utf-8"))
        body = [each for each in module.body[1:] if "bounds" not in (getattr(each, "module", "") or "")]
        for each in body:
            if isinstance(each, ast.ClassDef):
                each.body = [found for found in each.body if getattr(found, "name", "") != ANSWERS]
        return ast.dump(ast.Module(body, []))  # the docstring and the bounds are each service's own

    assert code(FOLDERS[0] / "policy.py") == code(FOLDERS[1] / "policy.py")
    assert decision.DEFAULT == DEFAULT


def test_a_shared_row_is_no_later_than_is_taken():
    assert replay.SHARED_WITHIN.total_seconds() > coalescer.WINDOW_SECONDS + shard.GATHER_SECONDS


def simulated(policy, limits):
    """The same terms, of the admin's own classes."""

    def terms(each):
        if isinstance(each, Policy):
            return of_the_admin.Policy(*each)
        return of_the_admin.Quota(each.capacity, of_the_admin.Period(each.period))

    return Simulated(terms(policy), (of_the_admin.Limit(n, terms(t), p, s) for n, t, p, s in limits))


@pytest.fixture
async def bucket(redis_server):
    async def nothing_spent(_subject, limits, _now):
        return {limit.name: 0 for limit in limits.limits}

    redis = Redis.from_url(redis_server.url, protocol=2)
    bucket = TokenBucket(redis, shards=1, timeout_seconds=5, spent_before=nothing_spent)
    yield bucket
    await bucket.stop()
    await redis.aclose()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(policy=POLICIES, limits=LIMITS, takes=TAKES)
async def test_it_decides_as_the_script(bucket, policy, limits, takes):
    subject, plan = next(subjects), Plan(limits)
    levels = None
    for endpoint, cost, count in takes:
        hold = plan.at(endpoint)
        decisions = [await bucket.take(subject, policy, cost, b"1 1 - /x", hold) for _ in range(count)]
        if levels is None:
            levels = Levels(simulated(policy, limits), decisions[0].now)
        for decided in decisions:
            admitted, marks = levels.take(decided.now, cost, endpoint)
            assert admitted == decided.allowed
            assert levels.remaining(decided.now) == decided.remaining
            enforced = {mark for mark in marks if not mark.startswith("~")}
            shadows = {mark[1:] for mark in marks if mark.startswith("~")}
            assert enforced == set(decided.violated)
            assert shadows == set(decided.shadow_denials)


@settings(max_examples=200)
@given(
    policy=POLICIES,
    limits=LIMITS,
    takes=st.lists(
        st.tuples(
            st.integers(0, 10**11),
            st.sampled_from(["/a", "/a/b", "/c"]),
            st.integers(1, 12),
            st.integers(1, 40),
        ),
        min_size=1,
        max_size=8,
    ),
)
def test_many_at_once_are_one_after_the_other(policy, limits, takes):
    plan, now = simulated(policy, limits), 10**15
    at_once, in_turn = Levels(plan, now), Levels(plan, now)
    for wait, endpoint, cost, count in takes:
        now += wait
        admitted, marks = at_once.take_many(now, cost, endpoint, count)
        each = [in_turn.take(now, cost, endpoint) for _ in range(count)]
        assert admitted == sum(one for one, _ in each)
        assert set(marks) == set(each[-1][1])
        assert at_once.apart(in_turn, now) == 0


PLAN = {
    "second": {"requests": 100, "window_seconds": 1, "burst": 6},
    "export": {"requests": 30, "window_seconds": 1, "burst": 3, "endpoint_prefix": "/export"},
    "monthly": {"requests": 60, "period": "month"},
    "tried": {"requests": 1, "window_seconds": 60, "is_shadow": True},
}


def add_key(database, name, rate, burst, limits):
    """A key of a tier of this name, as psql would add them; returns its number."""
    database.sql("INSERT INTO tier (name, requests_per_hour, burst) VALUES (%s, %s, %s)", name, rate, burst)
    for limit, columns in limits.items():
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        database.sql(
            f"INSERT INTO tier_limit (name, {names}, tier_id)"  # noqa: S608  # columns named here
            f" SELECT %s, {marks}, id FROM tier WHERE name = %s",
            *(limit, *columns.values(), name),
        )
    [(key_id,)] = database.sql(
        "INSERT INTO api_key (name, hint, digest, tier_id)"
        " SELECT %s, 'hint', sha256(%s), id FROM tier WHERE name = %s RETURNING id",
        *(name, name.encode(), name),
    )
    return key_id


def what_if(database, *arguments):
    return json.loads(manage(database.owner_url, "what_if", "--format", "json", *arguments))


async def copied(database, key_id, count):
    """Wait until the drain has copied so many requests of a key; returns their rows."""
    deadline = monotonic() + 20
    by_key = "SELECT coalesce(sum(count), 0), count(*) FROM request_log WHERE api_key_id = %s"
    while (found := database.sql(by_key, key_id)[0])[0] != count:
        assert monotonic() < deadline
        await asyncio.sleep(0.05)
    return found[1]


@pytest.fixture
async def service(database, redis_server):
    """The API in this process, with its drain."""
    settings = Settings(
        api_database_url=SecretStr(database.api_url),
        redis_url=SecretStr(redis_server.url),
        admin_api_token=SecretStr(ADMIN_API_TOKEN),
        decision_timeout_seconds=5.0,
    )
    app = create_app(settings)
    async with LifespanManager(app, startup_timeout=30, shutdown_timeout=30):
        transport = httpx.ASGITransport(app, client=("203.0.113.9", 40_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            yield http


async def decide_a_plan(bucket, database):
    """By Redis alone, so that each row has the moment of its decision."""
    key_id = add_key(database, "recorded", 72_000, 8, PLAN)
    limits = Plan(
        Limit.of(
            name,
            *(
                columns.get(each)
                for each in ("requests", "window_seconds", "burst", "period", "endpoint_prefix")
            ),
            columns.get("is_shadow", False),
        )
        for name, columns in PLAN.items()
    )
    random = Random(8)  # noqa: S311  # a run that repeats

    async def client():
        found = []
        for _ in range(80):
            endpoint, cost = random.choice(["/export/a", "/list"]), random.choice([1, 1, 1, 2])
            record = encode(key_id, cost, None, endpoint)
            found.append(await bucket.take(key_id, Policy.of(72_000, 8), cost, record, limits.at(endpoint)))
            await asyncio.sleep(random.random() / 50)
        return found

    decisions = [each for found in await asyncio.gather(*(client() for _ in range(3))) for each in found]
    await copied(database, key_id, len(decisions))
    answer = what_if(database, "--key", str(key_id))
    admitted = sum(each.allowed for each in decisions)
    assert 20 < admitted < len(decisions) - 20
    assert (answer["admitted"], answer["denied"]) == (admitted, len(decisions) - admitted)
    assert (answer["newly_admitted"], answer["newly_denied"]) == (0, 0)
    assert answer["error"] == 0
    assert answer["denied_by"] == Counter(name for each in decisions for name in each.violated)
    assert len(answer["denied_by"]) > 1


async def flood(service, database):
    """Denials that share a row are decided within the bound that is stated."""
    headers = {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}
    issued = (await service.post("/api/keys", json={"name": "flood", "burst": 20}, headers=headers)).json()

    async def ask():
        return (await service.post("/api/request", headers={"X-API-Key": issued["key"]})).status_code

    answers = [await ask() for _ in range(400)]
    assert Counter(answers) == {200: 20, 429: 380}
    assert await copied(database, issued["id"], 400) < 100
    same = what_if(database, "--key", str(issued["id"]))
    assert (same["admitted"], same["denied"], same["would_admit"]) == (20, 380, 20)
    assert 0 < same["error"] < 10
    more = what_if(database, "--key", str(issued["id"]), "--burst", "300")
    assert abs(more["would_admit"] - 300) <= more["error"] < 10
    assert more["denied_by"] == {DEFAULT: more["would_deny"]}


async def drip(service, database):
    """Tokens come back while a worker denies from memory, and dates that when it records it."""
    headers = {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}
    key = {"name": "drip", "requests_per_hour": 72_000, "burst": 2}
    issued = (await service.post("/api/keys", json=key, headers=headers)).json()
    answers = []
    for _ in range(150):
        answers.append((await service.post("/api/request", headers={"X-API-Key": issued["key"]})).status_code)
        await asyncio.sleep(0.005)
    await copied(database, issued["id"], len(answers))
    same = what_if(database, "--key", str(issued["id"]))
    assert same["admitted"] == answers.count(200) < len(answers) - 20
    assert abs(same["would_admit"] - same["admitted"]) <= same["error"] <= answers.count(429)


async def test_recorded_runs_have_their_own_outcome_under_their_own_limits(service, bucket, database):
    await decide_a_plan(bucket, database)
    await flood(service, database)
    await drip(service, database)
