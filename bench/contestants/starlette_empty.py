"""Starlette, an empty answer: what the framework below FastAPI costs by itself. No setting to choose."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def answer(_request: Request) -> Response:
    """Nothing, with status 200."""
    return Response()


app = Starlette(routes=[Route("/api/request", answer, methods=["POST"])])
