"""The one registration of errors with FastAPI: whatever goes wrong is answered as a problem document."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ratelimiter.database import AWAY
from ratelimiter.errors import (
    UNFORESEEN,
    ApiError,
    InvalidInput,
    MalformedBody,
    MethodNotAllowed,
    NotFound,
    Unavailable,
)

from .edge import METHODS, PROBLEM_JSON
from .schemas import field_errors


def register(app: FastAPI) -> None:
    """Answer every exception with a problem document."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return _answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, exc: RequestValidationError) -> JSONResponse:
        errors = exc.errors()
        if errors[0]["type"] == "json_invalid":
            return _answer(MalformedBody("The body is not JSON."))
        return _answer(InvalidInput.of(field_errors(list(errors))))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, exc: HTTPException) -> JSONResponse:
        if exc.status_code == MethodNotAllowed.status:
            detail = f"{request.url.path} does not answer {request.method}."
            return _answer(MethodNotAllowed(detail, {"Allow": ", ".join(_methods(request))}))
        if exc.status_code == NotFound.status:
            return _answer(NotFound(f"There is nothing at {request.url.path}."))
        return _answer(MalformedBody(str(exc.detail)))

    async def database_away(_: Request, exc: Exception) -> JSONResponse:
        del exc  # its text may quote the statement's values
        return _answer(Unavailable("The database does not answer; try again.", {"Retry-After": "2"}))

    for kind in AWAY:
        app.add_exception_handler(kind, database_away)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, exc: Exception) -> JSONResponse:
        del exc  # logged by the edge
        return _answer(ApiError(UNFORESEEN))


def _methods(request: Request) -> list[str]:
    """What the path does answer; Starlette itself names the methods of the first route alone."""
    routes = request.app.routes
    return sorted(
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


def _answer(error: ApiError) -> JSONResponse:
    return JSONResponse(
        error.problem(), error.status, headers=error.headers, media_type=PROBLEM_JSON.decode()
    )
