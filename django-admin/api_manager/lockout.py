"""Guesses at passwords: an address that failed too often for a name, or for any, waits (django-axes).

Counted are failures, in PostgreSQL, so for all workers: ``AXES_FAILURE_LIMIT`` for a name from one address,
``LOGIN_FAILURES_PER_ADDRESS`` for all names from there, in ``AXES_COOLOFF_TIME``. What comes while an address
waits is answered without a look at the password, or a hash of it, and does not prolong the wait. Nobody is
locked out by failures of another address. Without PostgreSQL nobody logs in at all.

A name that is nobody's may be a key or a password, typed into the wrong field: it is counted by its digest.
"""

from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Max, QuerySet, Sum
from django.db.models.signals import pre_save
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.crypto import salted_hmac

from .client import client_ip

_IPV6_PREFIX: Final = 64

Attempts = QuerySet[Any]


def address(request: HttpRequest) -> str | None:
    """Who counts as one: the client's address, of IPv6 its /64, which is the least that one client has."""
    found = client_ip(request)
    if found is None:
        return None
    client = ip_address(found)
    if isinstance(client, IPv6Address):
        if client.ipv4_mapped is None:
            return str(ip_network((client, _IPV6_PREFIX), strict=False).network_address)
        client = client.ipv4_mapped
    return str(client)


def name(_request: HttpRequest, credentials: dict[str, Any] | None) -> str | None:
    """By what failures are counted: a user's name, or the keyed digest of what is nobody's, however long."""
    typed: str | None = (credentials or {}).get("username")
    if typed is None or User.objects.filter(username=typed).exists():
        return typed
    return salted_hmac("api_manager.lockout", typed, algorithm="sha256").hexdigest()


class Handler(AxesDatabaseHandler):  # type: ignore[misc]  # not typed there
    """django-axes's own, with a bound for all names that one address tries."""

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        """Counts a failure in one row for a name and an address, whatever program was said to be at work."""
        if request is not None:
            request.axes_user_agent = ""  # type: ignore[attr-defined]  # django-axes's own
        super().user_login_failed(sender, credentials, request, **kwargs)

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """The failures that count; from ``AXES_FAILURE_LIMIT`` on the client waits."""
        of_name, of_address = self._attempts(request, credentials)
        if _failures(of_address) >= settings.LOGIN_FAILURES_PER_ADDRESS:
            return settings.LOGIN_FAILURES_PER_ADDRESS
        return _failures(of_name)

    def locked_until(self, request: HttpRequest, credentials: dict[str, Any] | None) -> datetime:
        """When the client may try again."""
        of_name, of_address = self._attempts(request, credentials)
        locking = of_name if _failures(of_name) >= settings.AXES_FAILURE_LIMIT else of_address
        last: datetime | None = locking.aggregate(last=Max("attempt_time"))["last"]
        return (last or timezone.now()) + settings.AXES_COOLOFF_TIME

    def _attempts(
        self, request: HttpRequest, credentials: dict[str, Any] | None
    ) -> tuple[Attempts, Attempts]:
        """What failed from here of late: for this name, and for any."""
        [of_name] = self.get_user_attempts(request, credentials)
        # Behind a Unix socket nobody's address is known, and a bound for all would lock everybody out.
        recent = AccessAttempt.objects.filter(attempt_time__gte=get_cool_off_threshold(request))
        here = getattr(request, "axes_ip_address", None)
        return of_name, recent.filter(ip_address=here) if here else recent.none()


def _failures(attempts: Attempts) -> int:
    return attempts.aggregate(total=Sum("failures_since_start"))["total"] or 0


@receiver(pre_save, sender=AccessAttempt)
def forget_the_form(instance: Any, **_: Any) -> None:
    """Keeps of an attempt what is counted: an address may hold a pasted key, and each failure adds one."""
    instance.get_data = instance.post_data = instance.http_accept = ""


def page(
    request: HttpRequest, _response: HttpResponse | None, credentials: dict[str, Any] | None
) -> HttpResponse:
    """The answer to whoever must wait: 429, with ``Retry-After``; the same whether the name is somebody's."""
    until = AxesProxyHandler.get_implementation().locked_until(request, credentials)
    seconds = max(1, int((until - timezone.now()).total_seconds()) + 1)
    response = render(request, "api_manager/locked_out.html", {"until": until}, status=429)
    response["Retry-After"] = str(seconds)
    return response


def end(username: str) -> int:
    """Forgets the failures of a name, wherever they came from; how many addresses and programs those were."""
    ended: int = AccessAttempt.objects.filter(username=username).delete()[0]
    return ended
