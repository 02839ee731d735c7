"""``GET /api/usage``: what the caller's own key has done."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Security
from fastapi.security import APIKeyHeader
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from ratelimiter import usage
from ratelimiter.errors import InvalidInput
from ratelimiter.keys.directory import KeyDirectory

from .authentication import authenticate, require_usable
from .fields import Moment
from .schemas import UsageAnswer, UsageHour

MAX_RANGE: Final = timedelta(days=92)
MAX_ROWS: Final = 10_000

_api_key = APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", auto_error=False)


def make_router(engine: Engine, directory: KeyDirectory) -> APIRouter:
    """The route ``/api/usage``."""
    router = APIRouter(prefix="/api/usage", tags=["data plane"])

    @router.get("")
    async def own_usage(
        request: Request,
        presented: Annotated[str | None, Security(_api_key)],
        start: Annotated[Moment | None, Query(description="Default: a day before the end.")] = None,
        end: Annotated[Moment | None, Query(description="Default: now.")] = None,
    ) -> UsageAnswer:
        """The caller's own usage by hour and endpoint; records appear a moment after the request.

        Of an hour a hundred endpoints stand by themselves; what comes beyond is counted as `(other)`.
        """
        key = await authenticate(directory, presented)
        require_usable(key, request.scope)
        until = end or datetime.now(UTC)
        since = start or until - timedelta(days=1)
        if not timedelta(0) < until - since <= MAX_RANGE:
            raise InvalidInput.at("start", f"must be before end, by {MAX_RANGE.days} days at most")
        first_hour = since.replace(minute=0, second=0, microsecond=0)
        rows = await run_in_threadpool(usage.hourly, engine, key.id, first_hour, until, MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise InvalidInput.at("start", f"the range holds over {MAX_ROWS} rows; ask for a shorter one")
        items = [UsageHour.model_validate(row, from_attributes=True) for row in rows]
        return UsageAnswer(start=first_hour, end=until, items=items)

    return router
