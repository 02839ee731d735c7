"""Puts the service together: the only place that knows all parts and reads the settings."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio
from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.types import Receive, Scope, Send

from . import __version__, addresses
from .api import decisions, docs, health, keys, openapi, problems, usage
from .api.authorization import LOOKUPS, Authorizer
from .api.edge import Edge
from .database import make_engine
from .health import Probes
from .keys.copies import KeyCopies
from .keys.directory import LOOKUP_THREADS, REVALIDATION_THREADS, KeyDirectory
from .keys.management import KeyManager
from .keys.news import KeyNews
from .keys.store import KeyStore
from .keys.tokens import TokenStore
from .limiter.fallback import Fallback
from .limiter.throttle import FailureThrottle
from .limiter.token_bucket import TokenBucket
from .request_log.bound import keep_bounded
from .request_log.coalescer import Coalescer
from .request_log.drain import Retention, start_drains
from .settings import Settings, load_settings
from .spent import THREADS as SPENT_THREADS
from .spent import SpentBefore

PROBE_THREADS: Final = 2
MANAGEMENT_CONNECTIONS: Final = 5
OTHER_REDIS_CONNECTIONS: Final = 100
"""For probes and resets; each shard keeps one of its own."""

DESCRIPTION: Final = """
Exact rate limits for everyone who holds a key.

Send your key as `X-API-Key`: `POST /api/request` spends tokens, `GET /api/check` shows what is left.
Operators send a management token as `Authorization: Bearer …`; each route says which scope it takes.

Every error is a problem document (RFC 9457). Beside the answers that stand at each operation: 404 where
nothing lives, 405 with `Allow` for a method that a path does not answer, 501 for one that HTTP does not
define, 413 for a body over 4 KiB (16 KiB under `/api/keys`) wherever it is sent; and before a request has a
path 400 for what is no HTTP, 408 and 431 for headers that come too slowly or are too large, 503 for too many
connections.
"""


class Application:
    """The ASGI application: the data plane in front, FastAPI behind."""

    def __init__(
        self, data_plane: decisions.DecisionApi, management: FastAPI, address_form: addresses.Form
    ) -> None:
        self.management: Final = management
        self._data_plane = data_plane
        self._behind = Edge(management, address_form)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or the lifespan."""
        if scope["type"] == "http" and scope["path"] in decisions.PATHS:
            await self._data_plane(scope, receive, send)
        else:
            await self._behind(scope, receive, send)


def create_app(settings: Settings | None = None) -> Application:
    """The application; nothing connects before its lifespan starts."""
    settings = settings or load_settings(Settings)
    database_url = settings.api_database_url.get_secret_value()
    redis_url = settings.redis_url.get_secret_value()

    # A take is never retried: redis-py would, ten times, and debit each time. Deadlines are the
    # callers'; a socket_timeout would wrap each send in a wait_for, which can lose a cancellation.
    client = redis.asyncio.Redis.from_url(
        redis_url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=2,
        protocol=2,
        max_connections=settings.redis_shards + OTHER_REDIS_CONNECTIONS,
    )
    engine = make_engine(database_url, pool_size=MANAGEMENT_CONNECTIONS)
    # Connections of their own, so that neither a flood nor a lock elsewhere can take them.
    lookup_engine = make_engine(database_url, pool_size=LOOKUP_THREADS + REVALIDATION_THREADS + SPENT_THREADS)
    probe_engine = make_engine(database_url, pool_size=PROBE_THREADS)
    token_engine = make_engine(database_url, pool_size=LOOKUPS)
    spent_before = SpentBefore(lookup_engine)
    bucket = TokenBucket(
        client,
        shards=settings.redis_shards,
        timeout_seconds=settings.decision_timeout_seconds,
        spent_before=spent_before,
    )
    directory = KeyDirectory(
        KeyStore(lookup_engine), KeyNews(database_url), KeyCopies(client), on_news=bucket.denials.clear
    )
    coalescer = Coalescer(bucket.append)
    manager = KeyManager(engine, environment=settings.key_environment)
    probing = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
    finding_tokens = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="token")
    address_form = addresses.truncated if settings.client_ip_truncate else addresses.clean
    authorizer = Authorizer(
        settings.admin_api_token.get_secret_value(),
        TokenStore(token_engine),
        FailureThrottle(client, settings.web_concurrency),
        finding_tokens,
        address_form,
    )
    probes = Probes(client, probe_engine, probing, settings.redis_shards)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop_drains = threading.Event()
        bounding = asyncio.get_running_loop().create_task(keep_bounded(client, settings.redis_shards))
        await directory.start()
        shards = settings.redis_shards if settings.request_log_drain else 0
        retention = Retention(settings.request_log_retention_days, settings.request_log_require_archive)
        drains = start_drains(redis_url, database_url, shards, retention, stop_drains)
        try:
            yield
        finally:
            coalescer.flush()
            await bucket.stop()
            stop_drains.set()
            await directory.stop()
            for thread in drains:
                await asyncio.to_thread(thread.join, 2.0)
            spent_before.stop()
            bounding.cancel()
            for executor in (probing, finding_tokens):
                executor.shutdown(wait=False, cancel_futures=True)
            await client.aclose()
            for each in (engine, lookup_engine, probe_engine, token_engine):
                each.dispose()

    management = FastAPI(
        title="Rate limiter",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # api.docs serves them
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        openapi_tags=[
            {"name": "data plane", "description": "For whoever holds a key."},
            {"name": "keys", "description": "For operators, with a management token."},
            {"name": "health", "description": "For probes and Prometheus."},
        ],
    )
    problems.register(management)
    management.include_router(keys.make_router(authorizer, manager, bucket))
    management.include_router(usage.make_router(engine, directory))
    management.include_router(
        health.make_router(probes, authorizer if settings.metrics_require_token else None)
    )
    openapi.install(management)
    docs.install(management)
    Instrumentator(excluded_handlers=["/metrics"]).instrument(management)
    fallback = Fallback(settings.web_concurrency)
    data_plane = decisions.DecisionApi(directory, bucket, fallback, coalescer, address_form)
    return Application(data_plane, management, address_form)
