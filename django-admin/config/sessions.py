"""Operators' sessions, kept in the database under a digest: nobody logs in with what a dump of it holds.

A session ends after ``SESSION_COOKIE_AGE`` without a request, ``SESSION_LONGEST_AGE`` after the login, and,
as Django has it, when its user's password changes.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

_COLUMN_LENGTH: Final = 40
_STARTED: Final = "started"
_SEEN: Final = "seen"
_SEEN_WITHIN_SECONDS: Final = 60
"""How exactly idleness is measured: a session is written no oftener, however many pages are looked at."""


class SessionStore(db.SessionStore):
    """Django's own, but that the cookie stands nowhere. The asynchronous half is left: the site is WSGI."""

    def load(self) -> dict[str, Any]:
        """The session's data; nothing where there is no such session, or no longer."""
        kept = Session.objects.filter(session_key=_digest(self.session_key), expire_date__gt=timezone.now())
        found = kept.first()
        if found is None:
            self._session_key = None
            return {}
        return self.decode(found.session_data)

    def exists(self, session_key: str) -> bool:
        """Whether there is a session with this cookie."""
        return super().exists(_digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        """The row to be saved."""
        row = super().create_model_instance(data)
        row.session_key = _digest(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        """End a session, this one unless another is named."""
        cookie = session_key or self.session_key
        if cookie is not None:
            super().delete(_digest(cookie))


class SessionLifeMiddleware:
    """Prolongs the session of whoever is at work, but not beyond its longest age."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serves one request."""
        return self._get_response(request)

    def process_view(self, request: HttpRequest, view: Callable[..., HttpResponse], *_: Any) -> None:
        """Looks at the session only where a page is asked for: health must not need the database for it."""
        if not getattr(view, "login_required", True) or SESSION_KEY not in request.session:
            return
        now = time.time()
        if now - request.session.setdefault(_STARTED, now) > settings.SESSION_LONGEST_AGE:
            request.session.flush()
        elif now - request.session.get(_SEEN, 0) > _SEEN_WITHIN_SECONDS:
            request.session[_SEEN] = now


@receiver(user_logged_in)
def _start(request: HttpRequest, **_: Any) -> None:
    request.session[_STARTED] = request.session[_SEEN] = time.time()


def _digest(cookie: str | None) -> str:
    """160 bits of its SHA-256, as many as the column holds; the cookie itself has 165 random ones."""
    return hashlib.sha256((cookie or "").encode()).hexdigest()[:_COLUMN_LENGTH]
