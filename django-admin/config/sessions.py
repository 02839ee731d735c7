"""Operators' sessions, kept in the database under a digest: nobody logs in with what a dump of it holds."""

import hashlib
from typing import Any, Final

from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

_COLUMN_LENGTH: Final = 40


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


def _digest(cookie: str | None) -> str:
    """160 bits of its SHA-256, as many as the column holds; the cookie itself has 165 random ones."""
    return hashlib.sha256((cookie or "").encode()).hexdigest()[:_COLUMN_LENGTH]
