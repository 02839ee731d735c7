"""What surrounds every request: its id, and its line in the log."""

import structlog
from django.http import HttpRequest, HttpResponse
from django_structlog import middlewares

from api_manager.client import client_ip


class RequestMiddleware(middlewares.RequestMiddleware):
    """Gives each request an id, answers it as ``X-Request-ID``, and logs one line at its end.

    Neither the body nor the query string is logged: somebody may search for a key.
    """

    def prepare(self, request: HttpRequest) -> None:
        """Binds what every line of this request's log carries."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(client_ip=client_ip(request))
        super().prepare(request)

    def handle_response(self, request: HttpRequest, response: HttpResponse) -> None:
        """Sets the header and logs the line."""
        response["X-Request-ID"] = structlog.contextvars.get_contextvars()["request_id"]
        super().handle_response(request, response)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path."""
        return f"{request.method} {request.path}"
