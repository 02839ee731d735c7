"""Deliveries that are due, how attempts went, when the next one comes, and how long all this is kept."""

import random
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from api_manager.models import Delivery, Notice, Webhook

from .posting import Message, Outcome
from .signature import secrets

MOST_AT_ONCE: Final = 32
MOST_OF_A_WEBHOOK: Final = 8
"""So that a receiver which does not answer leaves room for the others."""
FIRST_PAUSE: Final = timedelta(seconds=10)
MAX_ATTEMPTS: Final = 14
"""The pauses double: the last attempt comes 18 to 23 hours after the first."""
KEPT: Final = timedelta(days=30)
NOTICES_KEPT: Final = timedelta(days=40)
"""Longer than any period of a quota, or a notice that was deleted would be written again."""

Status = Delivery.Status


def due(now: datetime, resting: Collection[int] = ()) -> list[Delivery]:
    """The deliveries to attempt now, of each webhook that does not rest those that have waited longest."""
    is_due = Q(status=Status.PENDING, next_attempt_at__lte=now)
    waiting = Webhook.objects.filter(
        is_active=True, pk__in=Delivery.objects.filter(is_due).order_by().values("webhook")
    ).exclude(pk__in=resting)
    # In turn one of each, so that many notices for one receiver keep nobody else waiting.
    found = sorted(
        (place, delivery.next_attempt_at, delivery.pk, delivery)
        for webhook in waiting
        for place, delivery in enumerate(
            webhook.deliveries.filter(is_due)
            .select_related("notice", "webhook")
            .order_by("next_attempt_at", "pk")[:MOST_OF_A_WEBHOOK]
        )
    )
    return [delivery for *_, delivery in found[:MOST_AT_ONCE]]


def message(delivery: Delivery, now: datetime) -> Message:
    """What is posted for a delivery."""
    notice, webhook = delivery.notice, delivery.webhook
    return Message(
        notice.uid, notice.kind, notice.created_at, notice.data, webhook.url, secrets(webhook, now)
    )


@transaction.atomic
def record(outcomes: Mapping[Delivery, Outcome], now: datetime) -> None:
    """Writes how attempts went, and when the next ones come."""
    for delivery, outcome in outcomes.items():
        attempts = delivery.attempts + 1
        status = _status(attempts, outcome)
        Delivery.objects.filter(pk=delivery.pk).update(
            status=status,
            attempts=attempts,
            next_attempt_at=now + pause(attempts) if status == Status.PENDING else F("next_attempt_at"),
            attempted_at=now,
            status_code=outcome.status_code,
            duration_ms=outcome.duration_ms,
            error=outcome.error,
            answer=outcome.answer,
        )


def pause(attempts: int) -> timedelta:
    """How long to wait after so many attempts: it doubles each time, less a random fifth at most.

    So that what failed together does not come again together.
    """
    share = random.uniform(0.8, 1.0)  # noqa: S311  # nobody need guess it
    return FIRST_PAUSE * (2.0 ** (attempts - 1) * share)


def retry(delivery_id: int) -> bool:
    """Has a dead delivery begin anew, under its old id; whether that changed anything."""
    dead = Delivery.objects.filter(pk=delivery_id, status=Status.DEAD)
    return dead.update(status=Status.PENDING, attempts=0, next_attempt_at=Now()) == 1


def prune(now: datetime) -> None:
    """Deletes deliveries and notices that were kept long enough."""
    Delivery.objects.filter(created_at__lt=now - KEPT).delete()
    Notice.objects.filter(created_at__lt=now - NOTICES_KEPT, deliveries=None).delete()


def _status(attempts: int, outcome: Outcome) -> Status:
    if not outcome.error:
        return Status.DELIVERED
    return Status.DEAD if attempts >= MAX_ATTEMPTS else Status.PENDING
