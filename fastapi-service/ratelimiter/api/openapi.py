"""One OpenAPI document for both planes: FastAPI's own routes, the data plane's, and every problem."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from ratelimiter.request_log.record import ENDPOINT_MAX_LENGTH

from . import examples
from .decisions import CHECK_PATH, REQUEST_PATH
from .schemas import DecisionAnswer, DecisionRequest, Problem

Json = dict[str, Any]

_PROBLEMS: Final = {
    400: "The body is not JSON.",
    401: "No key, or one that was not issued here.",
    403: "The key is revoked, paused or expired, or may not be used from this address.",
    404: "There is no such key.",
    408: "The body takes over 5 s.",
    409: "What was asked does not fit the present state.",
    413: "The body is over 4 KiB; under `/api/keys`, over 16 KiB.",
    422: "A field is wrong; `errors` names it. Or the idempotency key was used with another request.",
    429: "A limit does not hold the cost; nothing was spent. `violated-policies` names those.",
    500: "Something failed that should not have; the request id finds it in the log.",
    503: "PostgreSQL is away, or Redis is and the tier is closed; try again after `Retry-After` seconds.",
}

_MANAGEMENT_PROBLEMS: Final = {
    401: "No management token, or one that is not good.",
    403: "The management token lacks the scope; `scope` names it.",
    429: "Too many attempts from this address have failed; a good token is refused, too.",
    503: "PostgreSQL is away, or Redis where a bucket is asked for; try again after `Retry-After` seconds.",
}

_INTEGER: Final = {"type": "integer", "minimum": 0}
_IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "A retry with the same key, endpoint and cost within five minutes gets the first answer and spends"
        " nothing more (IETF draft). 1 to 255 visible ASCII characters, or so many in double quotes. Denials"
        " are not remembered, since they spent nothing; and nothing is while Redis is away."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 257},
    "example": '"order-4711"',
}
_ENDPOINT: Final[Json] = {
    "name": "endpoint",
    "in": "query",
    "required": False,
    "description": "For what the request would be: limits may hold for some endpoints only.",
    "schema": {"type": "string", "minLength": 1, "maxLength": ENDPOINT_MAX_LENGTH},
    "example": "/v1/orders",
}
_REPLAYED: Final[dict[str, Json]] = {
    "Idempotency-Replayed": {
        "description": "Only where it is the first answer again: nothing was spent.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_RATE_LIMIT_HEADERS: Final[dict[str, Json]] = {
    "X-RateLimit-Limit": {
        "description": "The burst: tokens a full bucket holds. Of a plan, by the limit that holds the least.",
        "schema": _INTEGER,
    },
    "X-RateLimit-Remaining": {"description": "Whole tokens left.", "schema": _INTEGER},
    "X-RateLimit-Reset": {"description": "Unix time at which the bucket is full again.", "schema": _INTEGER},
    "X-RateLimit-Mode": {
        "description": "Only while Redis is away: `local`, decided by this worker alone, or `open`.",
        "schema": {"type": "string", "enum": ["local", "open"]},
    },
    "RateLimit-Policy": {
        "description": (
            "Of each limit that can deny: `q`, the burst or quota; `w`, seconds in which an empty bucket"
            " refills, or of the period (IETF draft)."
        ),
        "schema": {"type": "string"},
        "examples": {
            "one bucket": {"value": '"default";q=100;w=3600'},
            "a plan": {"value": ", ".join(item for item, _ in examples.PLAN)},
        },
    },
    "RateLimit": {
        "description": (
            "Of each of them: `r`, whole tokens left; `t`, seconds until there are more (IETF draft)."
        ),
        "schema": {"type": "string"},
        "examples": {
            "one bucket": {"value": '"default";r=57;t=12'},
            "a plan": {"value": ", ".join(item for _, item in examples.PLAN)},
        },
    },
}
_REQUEST_ID: Final[dict[str, Json]] = {
    "X-Request-ID": {
        "description": "The caller's own, if it sent one, else a new one; the log lines carry it.",
        "schema": {"type": "string"},
    }
}
_RETRY_AFTER: Final[dict[str, Json]] = {
    "Retry-After": {"description": "Seconds to wait; then the same request succeeds.", "schema": _INTEGER}
}
_RETRY_SOON: Final[dict[str, Json]] = {
    "Retry-After": {"description": "Seconds after which to try again.", "schema": _INTEGER}
}

_MORE_HEADERS: Final[dict[int, dict[str, Json]]] = {
    HTTPStatus.SERVICE_UNAVAILABLE: _RETRY_SOON,
    HTTPStatus.TOO_MANY_REQUESTS: _RETRY_SOON,
    HTTPStatus.UNAUTHORIZED: {
        "WWW-Authenticate": {"description": "Which credential is asked for.", "schema": {"type": "string"}}
    },
}


def _link(operation: str, description: str, **parameters: str) -> Json:
    return {"operationId": operation, "description": description, "parameters": parameters}


_ID: Final = "$response.body#/id"
_OF_THE_KEY: Final[dict[str, Json]] = {
    "show": _link("show_key", "See the key; its secret is not shown again.", key_id=_ID),
    "bucket": _link("show_bucket", "See what the key's bucket holds.", key_id=_ID),
    "change": _link("change_key", "Change the key.", key_id=_ID),
    "rotate": _link("rotate_key", "Replace the key's secret.", key_id=_ID),
    "reset": _link("reset_key", "Fill the key's bucket.", key_id=_ID),
    "revoke": _link("revoke_key", "Revoke the key.", key_id=_ID),
    "revoke for a reason": _link("revoke_key_for_reason", "Revoke the key, and say why.", key_id=_ID),
}
_LINKS: Final[dict[str, tuple[str, dict[str, Json]]]] = {
    "issue_key": ("201", _OF_THE_KEY),
    "show_key": ("200", _OF_THE_KEY),
    "change_key": ("200", _OF_THE_KEY),
    "rotate_key": ("201", _OF_THE_KEY),
    "list_keys": (
        "200",
        {"following": _link("list_keys", "The keys that follow.", cursor="$response.body#/next_cursor")},
    ),
}
"""Where an answer leads: by the operation, the status, and the links."""


def install(app: FastAPI) -> None:
    """Make ``app.openapi`` describe the whole service."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents


def _document(app: FastAPI) -> Json:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    _, definitions = models_json_schema(
        [(DecisionRequest, "validation"), (DecisionAnswer, "serialization"), (Problem, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    document["paths"] = _data_plane() | document["paths"]
    return document


def _complete(path: str, method: str, operation: Json) -> None:
    """Add to one of FastAPI's operations what its own machinery does not know of."""
    responses = operation["responses"]
    texts = _PROBLEMS | _MANAGEMENT_PROBLEMS if _takes_a_token(operation) else _PROBLEMS
    for status in sorted(_statuses(path, method, operation)):
        if str(status) not in responses or status == HTTPStatus.UNPROCESSABLE_ENTITY:
            responses[str(status)] = _problem(status, _MORE_HEADERS.get(status, {}), texts)
    for response in responses.values():
        response["headers"] = _REQUEST_ID | response.get("headers", {})
    if operation["operationId"] in _LINKS:
        successful, links = _LINKS[operation["operationId"]]
        responses[successful]["links"] = links


def _statuses(path: str, method: str, operation: Json) -> set[int]:
    """The statuses of the problems that an operation may answer."""
    statuses = {408, 413, 500}  # whatever the operation, a body that is sent is read
    if path.startswith("/api/"):
        statuses |= {401, 503}
    if _takes_a_token(operation):
        statuses |= set(_MANAGEMENT_PROBLEMS)
    if "requestBody" in operation:
        statuses |= {400}
    if path.startswith("/api/usage"):
        statuses |= {403}
    if "{key_id}" in path:
        statuses |= {404}
        if method == "patch" or path.endswith("/rotate"):
            statuses |= {409}
    if "422" in operation["responses"]:
        statuses |= {422}
    return statuses


def _takes_a_token(operation: Json) -> bool:
    return any("ManagementToken" in requirement for requirement in operation.get("security", ()))


def _problem(status: int, headers: Json, texts: Mapping[int, str] = _PROBLEMS) -> Json:
    return {
        "description": texts[status],
        "headers": _REQUEST_ID | headers,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _data_plane() -> Json:
    answer = {
        "headers": _REQUEST_ID | _RATE_LIMIT_HEADERS,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/DecisionAnswer"},
                "examples": examples.DECISIONS,
            }
        },
    }
    always = {str(status): _problem(status, _MORE_HEADERS.get(status, {})) for status in (401, 403, 500, 503)}
    spending = {str(status): _problem(status, {}) for status in (400, 408, 413, 422)}
    denial = _problem(429, _RATE_LIMIT_HEADERS | _RETRY_AFTER)
    common = {"tags": ["data plane"], "security": [{"ApiKey": []}]}
    return {
        REQUEST_PATH: {
            "post": common
            | {
                "operationId": "spend",
                "summary": "Spend tokens",
                "description": (
                    "Asks for the cost; if all limits that hold for the endpoint have room for it, it is"
                    " spent of each, else of none. Recorded."
                ),
                "parameters": [_IDEMPOTENCY_KEY],
                "requestBody": {
                    "required": False,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/DecisionRequest"}}
                    },
                },
                "responses": {
                    "200": {"description": "Admitted."} | answer | {"headers": answer["headers"] | _REPLAYED}
                }
                | spending
                | always
                | {"429": denial},
            }
        },
        CHECK_PATH: {
            "get": common
            | {
                "operationId": "check",
                "summary": "See the quota",
                "parameters": [_ENDPOINT],
                "description": (
                    "What a request of cost 1 would be told now; nothing is spent or recorded. Always "
                    "200: `allowed` says whether it would pass, `Retry-After` comes along if not."
                ),
                "responses": {
                    "200": {"description": "The quota."}
                    | answer
                    | {"headers": _REQUEST_ID | _RATE_LIMIT_HEADERS | _RETRY_AFTER}
                }
                | {"422": _problem(422, {})}
                | always,
            }
        },
    }
