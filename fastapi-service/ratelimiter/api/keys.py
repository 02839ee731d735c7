"""The management API: whoever holds a management token of the scope issues, lists, changes, revokes keys."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response, Security

from ratelimiter.keys.management import KeyManager, Origin
from ratelimiter.keys.own_limits import Numbers
from ratelimiter.keys.tokens import Scope, TokenRecord
from ratelimiter.limiter.decision import DEFAULT, Level
from ratelimiter.limiter.policy import Limit, Policy
from ratelimiter.limiter.token_bucket import TokenBucket
from ratelimiter.models import APIKey, KeyLimit, TierLimit

from . import edge
from .authorization import Authorizer
from .key_schemas import (
    BucketAnswer,
    BucketLimit,
    FurtherLimit,
    IssuedKey,
    KeyAnswer,
    KeyChange,
    KeyCreate,
    KeyPage,
    KeyRevocation,
    KeyRotation,
)
from .plans import all_limits, policy_of

KeyId = Annotated[int, Path(ge=1, le=2**63 - 1)]


def _origin(request: Request) -> Origin:
    # The address whole, whatever the settings say of clients': the audit is there to tell who it was.
    token: TokenRecord = request.state.token
    return Origin(token.actor, edge.client_ip(request.scope), request.state.request_id)


FromHere = Annotated[Origin, Depends(_origin)]


def make_router(authorizer: Authorizer, manager: KeyManager, bucket: TokenBucket) -> APIRouter:
    """The routes under ``/api/keys``."""
    router = APIRouter(prefix="/api/keys", tags=["keys"])
    read = [Security(authorizer, scopes=[Scope.KEYS_READ])]
    write = [Security(authorizer, scopes=[Scope.KEYS_WRITE])]

    @router.post("", status_code=201, dependencies=write)
    def issue_key(body: KeyCreate, origin: FromHere) -> IssuedKey:
        """Issue a key. The answer is the only place where its secret is ever shown."""
        return _issued(*manager.issue(body.model_dump(), origin))

    @router.get("", dependencies=read)
    def list_keys(
        cursor: Annotated[
            int | None, Query(ge=1, le=2**63 - 1, description="An answer's next_cursor.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> KeyPage:
        """List the keys, newest first."""
        keys, following = manager.page(cursor, limit)
        return KeyPage(items=[KeyAnswer(**_fields(key)) for key in keys], next_cursor=following)

    @router.get("/{key_id}", dependencies=read)
    def show_key(key_id: KeyId) -> KeyAnswer:
        """Show a key."""
        return KeyAnswer(**_fields(manager.get(key_id)))

    @router.get("/{key_id}/bucket", dependencies=read)
    async def show_bucket(key_id: KeyId) -> BucketAnswer:
        """Show what the key's bucket and further limits hold now; nothing is spent or recorded."""
        key = await asyncio.to_thread(manager.record, key_id)
        now = await bucket.peek(key.subject, policy_of(key), 1, all_limits(key))
        return BucketAnswer(
            limit=now.policy.capacity,
            remaining=now.remaining,
            full_at=now.full_at,
            full_in_seconds=now.reset_after_seconds,
            as_of=now.as_of,
            limits=[
                _level(DEFAULT, now, None, is_shadow=False),
                *(
                    _level(limit.name, level, limit.prefix or None, is_shadow=limit.is_shadow)
                    for limit, level in now.others
                ),
            ],
        )

    @router.patch("/{key_id}", dependencies=write)
    def change_key(key_id: KeyId, body: KeyChange, origin: FromHere) -> KeyAnswer:
        """Change the fields that are sent; every worker follows within a second.

        A key that was rotated is held to the limits of the one that replaced it: change that one's.
        """
        return KeyAnswer(**_fields(manager.change(key_id, _changes(body), origin)))

    @router.delete("/{key_id}", status_code=204, response_class=Response, dependencies=write)
    def revoke_key(key_id: KeyId, origin: FromHere) -> None:
        """Revoke a key for good; doing so again changes nothing. To say why, post to `revoke`."""
        manager.revoke(key_id, origin)

    @router.post("/{key_id}/revoke", dependencies=write)
    def revoke_key_for_reason(
        key_id: KeyId, origin: FromHere, body: Annotated[KeyRevocation | None, Body()] = None
    ) -> KeyAnswer:
        """Revoke a key for good and say why; doing so again changes nothing, not even the reason."""
        reason = (body or KeyRevocation()).reason
        return KeyAnswer(**_fields(manager.revoke(key_id, origin, reason)))

    @router.post("/{key_id}/rotate", status_code=201, dependencies=write)
    def rotate_key(
        key_id: KeyId, origin: FromHere, body: Annotated[KeyRotation | None, Body()] = None
    ) -> IssuedKey:
        """Replace a key's secret. Both share a bucket and the new limits; the old one ends with the grace."""
        grace = timedelta(seconds=(body or KeyRotation()).grace_seconds)
        return _issued(*manager.rotate(key_id, grace, origin))

    @router.post("/{key_id}/reset", status_code=204, response_class=Response, dependencies=write)
    async def reset_key(key_id: KeyId, origin: FromHere) -> None:
        """Fill the key's buckets; of its quotas, none is spent any more."""
        key = await asyncio.to_thread(manager.record_reset, key_id, origin)
        await bucket.reset(key.subject, all_limits(key))
        # Only now: a worker that heard of it before could be denied once more, and remember that.
        await asyncio.to_thread(manager.announce_reset, key_id)

    return router


def _level(name: str, level: Level, prefix: str | None, *, is_shadow: bool) -> BucketLimit:
    return BucketLimit(
        name=name,
        limit=level.policy.capacity,
        remaining=level.remaining,
        reset_after_seconds=level.reset_after_seconds,
        endpoint_prefix=prefix,
        is_shadow=is_shadow,
    )


def _changes(body: KeyChange) -> dict[str, Any]:
    fields = body.model_dump(exclude_unset=True)
    if "limits" in fields:
        fields["limits"] = {
            name: own and Numbers(own.requests, own.burst) for name, own in body.limits.items()
        }
    return fields


def _issued(key: APIKey, secret: str) -> IssuedKey:
    return IssuedKey(**_fields(key), key=secret)


def _fields(key: APIKey) -> dict[str, Any]:
    policy = Policy.of(key.requests_per_hour or key.tier.requests_per_hour, key.burst or key.tier.burst)
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "tier": key.tier.name,
        "owner_email": key.owner_email,
        "requests_per_hour": policy.requests,
        "burst": policy.capacity,
        "overrides": {"requests_per_hour": key.requests_per_hour, "burst": key.burst},
        "limits": _further_limits(key),
        "is_active": key.is_active,
        "created_at": key.created_at,
        "updated_at": key.updated_at,
        "expires_at": key.expires_at,
        "allowed_cidrs": key.allowed_cidrs,
        "note": key.note,
        "is_exempt": key.is_exempt,
        "revoked_at": key.revoked_at,
        "revoked_reason": key.revoked_reason,
        "replaces": key.replaces_id,
    }


def _further_limits(key: APIKey) -> list[FurtherLimit]:
    own = {limit.name: limit for limit in key.limits}
    return [_further_limit(limit, own.get(limit.name)) for limit in key.tier.limits]


def _further_limit(limit: TierLimit, own: KeyLimit | None) -> FurtherLimit:
    # As the limiter has it, which cuts what is out of bounds since an edit of the tier.
    terms = Limit.of(
        limit.name,
        own.requests if own else limit.requests,
        limit.window_seconds,
        (own and own.burst) or limit.burst,
        limit.period,
        limit.endpoint_prefix,
        limit.is_shadow,
    ).terms
    if isinstance(terms, Policy):
        requests, burst, period = terms.requests, terms.capacity, None
    else:
        requests, burst, period = terms.capacity, None, terms.period.value
    return FurtherLimit(
        name=limit.name,
        requests=requests,
        window_seconds=limit.window_seconds,
        burst=burst,
        period=period,
        endpoint_prefix=limit.endpoint_prefix,
        is_shadow=limit.is_shadow,
        is_own=own is not None,
    )
