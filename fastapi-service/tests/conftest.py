"""The API in this process, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ratelimiter.app import create_app
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.settings import Settings
from tests.servers import ADMIN_API_TOKEN

CLIENT_ADDRESS = "203.0.113.9"


@pytest.fixture
def settings(database, redis_server) -> Settings:
    return Settings(
        api_database_url=SecretStr(database.api_url),
        redis_url=SecretStr(redis_server.url),
        admin_api_token=SecretStr(ADMIN_API_TOKEN),
        decision_timeout_seconds=2.0,
    )


@pytest.fixture
async def app(settings):
    application = create_app(settings)
    async with LifespanManager(application, startup_timeout=30, shutdown_timeout=30):
        yield application


@pytest.fixture
async def client(app) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(CLIENT_ADDRESS, 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
        yield http


@pytest.fixture
def management() -> dict[str, str]:
    """The headers of whoever holds the management token."""
    return {"Authorization": f"Bearer {ADMIN_API_TOKEN}"}


@pytest.fixture
def issue(client, management) -> Callable:
    """Issue a key through the API; returns its answer."""

    async def issue_key(**fields) -> dict:
        answer = await client.post("/api/keys", json={"name": "test"} | fields, headers=management)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return issue_key


@pytest.fixture
def add_limit(database) -> Callable[..., None]:
    """Add a limit to a tier, as psql would."""

    def add_to_tier(name, tier="free", **columns):
        columns |= {"name": name}
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        database.sql(
            f"INSERT INTO tier_limit ({names}, tier_id) SELECT {marks}, id FROM tier WHERE name = %s",  # noqa: S608  # columns named here
            *columns.values(),
            tier,
        )

    return add_to_tier


@pytest.fixture
async def redis(redis_server) -> AsyncIterator[Redis]:
    connection = Redis.from_url(redis_server.url, retry=Retry(NoBackoff(), 0), protocol=2)
    yield connection
    await connection.aclose()


@pytest.fixture
async def make_bucket(redis):
    """Make token buckets that look for Redis no more when the test ends."""
    made = []

    def make(connection=redis, *, shards=1, timeout_seconds=2.0):
        made.append(TokenBucket(connection, shards=shards, timeout_seconds=timeout_seconds))
        return made[-1]

    yield make
    for bucket in made:
        await bucket.stop()


@pytest.fixture
def bucket(make_bucket) -> TokenBucket:
    return make_bucket()


async def eventually(condition: Callable[[], object], within_seconds: float = 10.0) -> object:
    """The condition's first true value; an assertion error if there is none in time."""
    deadline = monotonic() + within_seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Callable:
    return eventually
