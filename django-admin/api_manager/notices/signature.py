"""Signatures of notices, after Standard Webhooks (https://www.standardwebhooks.com).

No secret is stored. A webhook's is derived from ``WEBHOOK_SECRET_KEY``, its uid and the version of its
secret, so a stolen database signs nothing, and no other webhook ever has the same one, not even after a
restore.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from django.conf import settings

from api_manager.models import Webhook

PREFIX: Final = "whsec_"


class NoSecretKeyError(Exception):
    """WEBHOOK_SECRET_KEY is not set, so there are no secrets to sign with."""

    def __init__(self) -> None:
        super().__init__("WEBHOOK_SECRET_KEY is not set: without it there are no webhooks.")


def is_possible() -> bool:
    """Whether there is a key to derive secrets from."""
    return settings.WEBHOOK_SECRET_KEY is not None


def secret(webhook: Webhook, version: int) -> str:
    """A webhook's secret, as its receiver is given it: ``whsec_`` and 256 bits in base64.

    Raises ``NoSecretKeyError``.
    """
    if settings.WEBHOOK_SECRET_KEY is None:
        raise NoSecretKeyError
    key = settings.WEBHOOK_SECRET_KEY.get_secret_value().encode()
    derived = hmac.digest(key, f"webhook:{webhook.uid}:{version}".encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(derived).decode()


def secrets(webhook: Webhook, now: datetime) -> list[str]:
    """The secrets that sign at a moment: the present one, and within the grace of a rotation the last one."""
    versions = [webhook.secret_version]
    if webhook.previous_secret_until is not None and now < webhook.previous_secret_until:
        versions.append(webhook.secret_version - 1)
    return [secret(webhook, version) for version in versions]


def sign(secrets: Iterable[str], message_id: str, timestamp: int, body: str) -> str:
    """The header ``webhook-signature``: ``v1,`` and HMAC-SHA256 in base64 for each secret, a space between.

    ``timestamp`` is in Unix seconds. ValueError for what is no secret.
    """
    content = f"{message_id}.{timestamp}.{body}".encode()
    keys = [base64.b64decode(each.removeprefix(PREFIX), validate=True) for each in secrets]
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}" for key in keys)
