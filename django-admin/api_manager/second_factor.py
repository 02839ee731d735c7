"""The second factor of a login: codes of an app (TOTP, RFC 6238), and backup codes, each of which works once.

django-otp keeps them, refuses a code that was used, and after each wrong one waits twice as long as before.
The app's secret and the backup codes must be in the database as they are, for codes are computed of them:
see docs/security.md.
"""

import re
from base64 import b32encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import qrcode
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.safestring import SafeString
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice
from qrcode.image.svg import SvgPathFillImage

from . import audit
from .audit import Actor
from .models import AuditEvent

BACKUP_CODES: Final = 10
CODE: Final = re.compile(r"[0-9]{6}|[a-z2-7]{8}")
"""What a code looks like: the app's, or a backup code."""

_OFFER_LASTS: Final = timedelta(hours=1)

Action = AuditEvent.Action


@dataclass(frozen=True)
class Refusal:
    """A code that does not let in; before ``retry_at``, if there is one, none is looked at."""

    retry_at: datetime | None = None


def is_enrolled(user: User) -> bool:
    """Whether the user has a second factor, and so must show it."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def backup_codes_left(user: User) -> int:
    """How many backup codes have not been used."""
    return int(StaticToken.objects.filter(device__user=user).count())


@transaction.atomic
def verify(user: User, code: str) -> Device | Refusal:
    """What the user has shown by a code that matches ``CODE``, or that it lets nobody in. Uses it up."""
    kind = TOTPDevice if len(code) == TOTPDevice().digits else StaticDevice
    device = kind.objects.select_for_update().filter(user=user, confirmed=True).first()
    return Refusal() if device is None else _verified(device, code)


@transaction.atomic
def offer(user: User) -> TOTPDevice:
    """The secret that a user without a second factor may put into his app, the same one for an hour."""
    User.objects.select_for_update().get(pk=user.pk)  # two pages at once show one secret
    offered = TOTPDevice.objects.filter(user=user, confirmed=False)
    offered.filter(created_at__lt=timezone.now() - _OFFER_LASTS).delete()
    return offered.first() or TOTPDevice.objects.create(user=user, confirmed=False, name="Authenticator app")


@transaction.atomic
def enrol(user: User, code: str, actor: Actor) -> tuple[TOTPDevice, list[str]] | Refusal:
    """Makes what was offered the second factor, on a code of it; with the backup codes, to be shown once."""
    offer(user)
    device = TOTPDevice.objects.select_for_update().get(user=user, confirmed=False)
    if is_enrolled(user):
        return Refusal()  # in another window, a moment ago
    if isinstance(refusal := _verified(device, code), Refusal):
        return refusal
    device.confirmed = True
    device.save(update_fields=["confirmed"])
    audit.record(actor, Action.ENROLLED, user, audit.SHOWN_ONCE)
    return device, _new_backup_codes(user)


@transaction.atomic
def renew_backup_codes(user: User, actor: Actor) -> list[str]:
    """New backup codes in the place of the old ones, to be shown once."""
    audit.record(actor, Action.CODES_ISSUED, user, audit.SHOWN_ONCE)
    return _new_backup_codes(user)


@transaction.atomic
def remove(user: User, actor: Actor) -> bool:
    """Takes a user's second factor away, and his backup codes; whether he had any."""
    StaticDevice.objects.filter(user=user).delete()
    had = is_enrolled(user)
    TOTPDevice.objects.filter(user=user).delete()
    if had:
        audit.record(actor, Action.UNENROLLED, user, {})
    return had


def forgive(user: User) -> int:
    """Forgets a user's wrong codes, so that the next one is looked at; how many devices had any."""
    forgiven = {"throttling_failure_count": 0, "throttling_failure_timestamp": None}
    kinds = (TOTPDevice, StaticDevice)
    failed = [kind.objects.filter(user=user, throttling_failure_count__gt=0) for kind in kinds]
    return sum(devices.update(**forgiven) for devices in failed)


def secret(device: TOTPDevice) -> str:
    """The secret as one types it: Base32 in groups of four."""
    text = b32encode(device.bin_key).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def qr(device: TOTPDevice) -> SafeString:
    """The secret as a picture to be scanned: an SVG without style or script, black on white."""
    image = qrcode.make(device.config_url, image_factory=SvgPathFillImage)
    return SafeString(image.to_string(encoding="unicode"))


def _verified(device: Device, code: str) -> Device | Refusal:
    is_allowed, why = device.verify_is_allowed()
    if not is_allowed:
        return Refusal(why["locked_until"])
    return device if device.verify_token(code) else Refusal()


def _new_backup_codes(user: User) -> list[str]:
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="Backup codes")
    codes = [StaticToken.random_token() for _ in range(BACKUP_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes
