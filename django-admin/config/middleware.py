"""What surrounds a request: whose word is taken, its id, its log line, what pages may load, who is let in."""

import re
import secrets
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.signals import got_request_exception
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from api_manager.client import client_ip, comes_from_proxy
from api_manager.second_factor import is_enrolled

# No key, which somebody may send there: a request id stands in the log and in the audit.
_REQUEST_ID: Final = re.compile(r"(?!.{0,60}rl[km]_)[A-Za-z0-9._-]{1,64}")

# https://www.w3.org/TR/CSP3/. All that a page needs comes from this site, as files: no script and no style
# stands in a page itself, so neither 'unsafe-inline' nor a nonce is needed. Alpine.js, on which the theme is
# built, makes functions of the expressions in its attributes: that is 'unsafe-eval', for what is ours.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)


class ProxyMiddleware:
    """Forgets the X-Forwarded-Proto of all but our proxies; goes first, before anything believes it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serves one request."""
        if not comes_from_proxy(request):
            request.META.pop("HTTP_X_FORWARDED_PROTO", None)
        return self._get_response(request)


class ContentSecurityPolicyMiddleware:
    """Tells browsers to load and run nothing but what this site serves; Django has that from 6.0 on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serves one request."""
        response = self._get_response(request)
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


class RequestMiddleware:
    """Gives each request an id, answers it as ``X-Request-ID``, and logs one line at its end.

    Neither the body nor the query string is logged: somebody may search for a key.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serves one request."""
        started = perf_counter()
        identifier = request_id(request)
        with structlog.contextvars.bound_contextvars(request_id=identifier, client_ip=client_ip(request)):
            response = self._get_response(request)  # what fails within has become an answer already
            response["X-Request-ID"] = identifier
            log.info(
                "request",
                method=request.method,
                path=request.path,
                status=response.status_code,
                duration_ms=round((perf_counter() - started) * 1000, 2),
            )
        return response


class SecondFactorMiddleware:
    """Lets nobody on who has given a password and still has to show, or to set up, a second factor.

    Every view is closed to him but those for strangers, the one he is led to, and the way out. Comes after
    django-otp's middleware, which knows what a session has shown.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serves one request."""
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *_: Any
    ) -> HttpResponse | None:
        """The way to the page that comes first, or None."""
        if not getattr(view, "login_required", True):
            return None
        user: Any = request.user
        if not user.is_authenticated or user.is_verified():
            return None
        if is_enrolled(user):
            first = "second_factor_code"
        elif settings.REQUIRE_2FA:
            first = "second_factor"
        else:
            return None
        asked = request.resolver_match.view_name if request.resolver_match else ""
        if asked in {first, "admin:logout"}:
            return None
        wanted = request.get_full_path() if request.method in {"GET", "HEAD"} else reverse("admin:index")
        return HttpResponseRedirect(f"{reverse(first)}?{urlencode({REDIRECT_FIELD_NAME: wanted})}")


def request_id(request: HttpRequest) -> str:
    """The caller's X-Request-ID if it can be taken over as it is, else a new one."""
    sent = request.headers.get("X-Request-ID", "")
    return sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)


@receiver(got_request_exception)
def log_failure(**_: Any) -> None:
    """Logs what nobody foresaw, with its traceback; the answer is a plain 500."""
    log.exception("request_failed")  # noqa: LOG004  # Django sends the signal while it handles the exception
