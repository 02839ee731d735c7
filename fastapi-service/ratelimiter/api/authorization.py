"""From the Authorization header to a management token that opens what is asked for (RFC 6750).

The environment's token opens everything, without PostgreSQL; it is what the first of the others are issued
beside. Theirs are looked up by their digest at each call.

**Failures** are throttled per client address, of IPv6 per /64 (``limiter.throttle``). Who has failed too
often gets 429 before anything is compared or looked up, with a good token, too: else the answer would tell
a lucky guess. Guesses that arrive while others are under way are looked at like them, so their number may
pass the bound by as many. To send no token at all is no guess, and takes nothing.

**Without PostgreSQL** a call with a token from there gets 503. ``/metrics`` is there to be read just then:
it takes a token that was good when PostgreSQL last answered this worker, for ``KNOWN_FOR_SECONDS`` and
never past the token's own end.
"""

import asyncio
import hmac
from concurrent.futures import Executor, Future
from contextlib import suppress
from hashlib import sha256
from time import monotonic, time
from typing import Annotated, Final, NamedTuple, NoReturn

import structlog
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from ratelimiter import addresses, metrics
from ratelimiter.database import AWAY
from ratelimiter.errors import MissingScope, TooManyFailures, Unauthenticated, Unavailable
from ratelimiter.keys import credentials
from ratelimiter.keys.tokens import BOOTSTRAP, Scope, TokenRecord, TokenStore
from ratelimiter.limiter.decision import Decision
from ratelimiter.limiter.throttle import FailureThrottle

from . import edge

KNOWN_FOR_SECONDS: Final = 86_400
"""A day, as for keys."""
MAX_KNOWN: Final = 1000
LOOKUP_TIMEOUT_SECONDS: Final = 2.0
LOOKUPS: Final = 2
"""At once, each in a thread with a connection. The others wait outside: what stands in an executor's queue
stays there when nobody waits for it any more, and a PostgreSQL that hangs would let the queue grow."""

_DETAILS: Final = {
    "missing": "Send a management token as Authorization: Bearer …",
    "malformed": "The management token is not one that was issued here.",
    "unknown": "The management token is not one that was issued here.",
    "revoked": "The management token has been revoked.",
    "expired": "The management token has expired.",
}
_bearer: Final = HTTPBearer(
    auto_error=False,
    scheme_name="ManagementToken",
    description=f"A management token. Each route names the scope it takes: {', '.join(Scope)}.",
)
Presented = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class _Client(NamedTuple):
    """Who asks: whose failures are counted, and the address that is logged."""

    number: int
    logged: str | None


class Authorizer:
    """A FastAPI dependency: ``Security(authorizer, scopes=[…])`` asks for a token with these scopes.

    The token then stands in ``request.state.token``.

    Raises:
        Unauthenticated: no token, or none that is good.
        MissingScope: a good one that does not open this.
        TooManyFailures: too many failed from this address.
        Unavailable: PostgreSQL does not answer, or raises one of ``database.AWAY``.

    """

    def __init__(
        self,
        bootstrap: str,
        store: TokenStore,
        throttle: FailureThrottle,
        executor: Executor,
        address_form: addresses.Form,
    ) -> None:
        self._bootstrap = sha256(bootstrap.encode()).digest()
        self._store = store
        self._throttle = throttle
        self._executor = executor
        self._address_form = address_form
        self._free = asyncio.Semaphore(LOOKUPS)
        self._known: dict[bytes, tuple[TokenRecord, float]] = {}

    async def __call__(self, request: Request, required: SecurityScopes, presented: Presented) -> None:
        """Let pass whom PostgreSQL knows now."""
        await self._authorize(request, required, presented, from_memory=False)

    async def or_from_memory(self, request: Request, required: SecurityScopes, presented: Presented) -> None:
        """Let pass whom PostgreSQL knows, or, while it is away, knew when it last answered."""
        await self._authorize(request, required, presented, from_memory=True)

    async def _authorize(
        self, request: Request, required: SecurityScopes, presented: Presented, *, from_memory: bool
    ) -> None:
        address = edge.client_ip(request.scope)
        client = _Client(addresses.client_number(address), self._address_form(address))
        if presented is None:
            _refuse("missing", client)
        throttled = await self._throttle.look(client.number)
        if not throttled.allowed:
            _refuse_to_listen(throttled, client)
        token = await self._authenticated(presented.credentials, client, from_memory=from_memory)
        for scope in required.scopes:
            if scope not in token.scopes:
                _count("scope", client, token=token.name, scope=scope)
                raise MissingScope.of(scope)
        request.state.token = token

    async def _authenticated(self, secret: str, client: _Client, *, from_memory: bool) -> TokenRecord:
        if hmac.compare_digest(sha256(secret.encode()).digest(), self._bootstrap):
            return BOOTSTRAP
        if not credentials.is_well_formed(secret, credentials.MANAGEMENT_PREFIX):
            await self._fail("malformed", client)
        token = await self._find(credentials.digest(secret), from_memory=from_memory)
        if token is None:
            await self._fail("unknown", client)
        refusal = token.refusal(time())
        if refusal is not None:
            await self._fail(refusal, client)
        return token

    async def _find(self, digest: bytes, *, from_memory: bool) -> TokenRecord | None:
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_SECONDS):
                token = await self._look_up(digest)
        except (*AWAY, TimeoutError) as exc:
            known = self._known.get(digest)
            if from_memory and known is not None and monotonic() - known[1] <= KNOWN_FOR_SECONDS:
                metrics.TOKENS_FROM_MEMORY.inc()
                return known[0]
            raise Unavailable("The database does not answer; try again.", {"Retry-After": "2"}) from exc
        self._known.pop(digest, None)  # so that the dictionary's order is by use
        if token is not None:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[digest] = token, monotonic()
        return token

    async def _look_up(self, digest: bytes) -> TokenRecord | None:
        loop = asyncio.get_running_loop()

        def is_over(_: "Future[TokenRecord | None]") -> None:
            with suppress(RuntimeError):  # the loop is closed: the worker has ended
                loop.call_soon_threadsafe(self._free.release)

        await self._free.acquire()
        lookup = self._executor.submit(self._store.find, digest)
        lookup.add_done_callback(is_over)  # which may be long after the last who waited has gone
        return await asyncio.wrap_future(lookup)

    async def _fail(self, reason: str, client: _Client) -> NoReturn:
        """Refuse a token that is not good, and take that down against the client."""
        noted = await self._throttle.fail(client.number)
        if not noted.allowed:
            _refuse_to_listen(noted, client)
        _refuse(reason, client)


def _refuse(reason: str, client: _Client) -> NoReturn:
    _count(reason, client)
    raise Unauthenticated(_DETAILS[reason], {"WWW-Authenticate": "Bearer"})


def _refuse_to_listen(denial: Decision, client: _Client) -> NoReturn:
    _count("throttled", client)
    seconds = denial.retry_after_seconds
    detail = f"Too many failed attempts came from this address; try again in {seconds} s."
    raise TooManyFailures(detail, {"Retry-After": str(seconds)})


def _count(reason: str, client: _Client, **details: str) -> None:
    metrics.TOKEN_REFUSALS.labels(reason).inc()
    log.warning("management_token_refused", reason=reason, client_ip=client.logged, **details)
