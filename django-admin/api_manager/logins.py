"""Who logs in, who fails to, who leaves: a metric and a line of the log each, and the audit.

The audit has every login and logout. Of failures, which strangers can cause without end, it has one of each
kind for a user in ``AXES_COOLOFF_TIME``, and one for all names that are nobody's; each is counted and logged.
A name that is nobody's is written nowhere: it may be a password, typed into the wrong field.
"""

from typing import Any, Final

import structlog
from axes.signals import user_locked_out
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest
from prometheus_client import Counter

from . import audit, second_factor
from .audit import Actor
from .models import AuditEvent

log: "structlog.stdlib.BoundLogger" = structlog.get_logger(__name__)

LOGINS: Final = Counter("admin_logins", "Attempts to log in to the admin site, by outcome.", ["outcome"])
LOCKOUTS: Final = Counter(
    "admin_lockouts", "Times that a client has failed to log in too often, and so must wait."
)
OUTCOMES: Final = ("accepted", "refused", "locked_out", "code_refused")
for _outcome in OUTCOMES:
    LOGINS.labels(_outcome)

Action = AuditEvent.Action


def accepted(request: HttpRequest, user: User, factor: str) -> None:
    """Somebody is in, by his password and the second factor of this name."""
    LOGINS.labels("accepted").inc()
    log.info("logged_in", user_id=user.pk, second_factor=factor)
    audit.record(Actor.of_user(user, request), Action.LOGGED_IN, user, {"second_factor": factor})


def code_refused(request: HttpRequest, user: User) -> None:
    """Somebody who knows the password has no right code."""
    LOGINS.labels("code_refused").inc()
    log.warning("second_factor_refused", user_id=user.pk)
    _failed(request, Action.LOGIN_FAILED, user, {"reason": "second factor"})


@receiver(user_logged_in)
def _password_accepted(request: HttpRequest, user: User, **_: Any) -> None:
    if second_factor.is_enrolled(user):
        log.info("password_accepted", user_id=user.pk)  # the code comes next
    else:
        accepted(request, user, "none")


@receiver(user_login_failed)
def _password_refused(request: HttpRequest, credentials: dict[str, Any], **_: Any) -> None:
    if _waits(request):
        LOGINS.labels("locked_out").inc()
        return
    user = _named(credentials.get("username"))
    LOGINS.labels("refused").inc()
    log.info("login_failed", user_id=user and user.pk)
    _failed(request, Action.LOGIN_FAILED, user, {"reason": "password"})


@receiver(user_locked_out)
def _locked_out(request: HttpRequest, username: str, **_: Any) -> None:
    if _waits(request):
        return  # what counts is the failure that was one too many
    user = _named(username)
    LOCKOUTS.inc()
    log.warning("login_locked_out", user_id=user and user.pk)
    _failed(request, Action.LOCKED_OUT, user, {})


@receiver(user_logged_out)
def _logged_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.record(Actor.of_user(user, request), Action.LOGGED_OUT, user, {})


def _waits(request: HttpRequest) -> bool:
    """Whether the client had to wait already, so that the password was not looked at.

    django-axes counts a failure that was one before our receivers run: its signals are imported first.
    """
    return getattr(request, "axes_failures_since_start", None) is None


def _named(username: str | None) -> User | None:
    return User.objects.filter(username=username).first()


def _failed(
    request: HttpRequest, action: AuditEvent.Action, user: User | None, detail: dict[str, Any]
) -> None:
    audit.record_seldom(Actor.stranger(request), action, user, detail, settings.AXES_COOLOFF_TIME)
