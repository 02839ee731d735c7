"""Webhooks: the list, the form, a new secret, a ping."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from api_manager import webhooks
from api_manager.audit import Actor
from api_manager.forms import RotateForm
from api_manager.keys import ConflictError
from api_manager.models import Webhook
from api_manager.webhook_forms import WebhookForm

from .issuing import IssuingPages
from .links import delivery_url

_TITLES: Final = {"rotate": "Rotate a secret", "issued": "The new secret"}
"""Of pages that speak of the row elsewhere: a webhook stays, and its secret is new."""


@admin.register(Webhook)
class WebhookAdmin(IssuingPages[Webhook]):
    """Who is told what happens to keys. A webhook is deactivated, never deleted."""

    noun = "webhook"
    operations = webhooks
    related = ()

    form = WebhookForm
    empty_hint = "Add a webhook for the program that is to be told what happens to keys."
    list_display = ("name", "host", "is_told", "is_active", "created_at")
    readonly_fields = ("previous_secret_until", "created_at")
    search_fields = ("name", "url")

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """A new secret, and a test."""
        return [
            ("<int:row_id>/rotate/", "rotate", self.rotate_view),
            ("<int:row_id>/ping/", "ping", self.ping_view),
        ]

    def get_fields(self, _request: HttpRequest, obj: Webhook | None = None) -> tuple[str, ...]:
        """What is said of a webhook, and of one that is there what followed."""
        return Webhook.FIELDS if obj is None else (*Webhook.FIELDS, *self.readonly_fields)

    @admin.display(ordering="url")
    def host(self, webhook: Webhook) -> str:
        """Where it leads, without the path, which may be long."""
        return urlsplit(webhook.url).netloc

    @admin.display(description="notices")
    def is_told(self, webhook: Webhook) -> str:
        """What it is told."""
        return ", ".join(webhook.kinds)

    def save_model(self, request: HttpRequest, obj: Webhook, _form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Saves with an audit event; a new one has a secret to show."""
        if change:
            webhooks.update(obj, Actor.of_request(request))
        else:
            self.remember(request, webhooks.create(obj, Actor.of_request(request)))

    def page(self, request: HttpRequest, name: str, title: str, **context: Any) -> TemplateResponse:
        """Names the pages of the secret by it."""
        return super().page(request, name, _TITLES.get(name, title), **context)

    def ping_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """Asks whether it is meant, then leads to the delivery of the ping."""
        webhook = self._changeable([row_id], request)[0]
        if request.method == "POST":
            try:
                delivery = webhooks.ping(webhook.pk)
            except ConflictError as exc:
                self.message_user(request, str(exc), messages.ERROR)
                return HttpResponseRedirect(self.url("change", webhook.pk))
            text = "The ping is on its way. Reload this page to see how it went."
            self.message_user(request, text, messages.SUCCESS)
            return HttpResponseRedirect(delivery_url(delivery.pk))
        return self.page(request, "ping", "Send a ping", original=webhook)

    @transaction.atomic
    def _rotated(self, request: HttpRequest, row: Webhook, form: RotateForm) -> webhooks.Issued:
        """Rotates, and writes that into Django's history too."""
        issued = webhooks.rotate(row.pk, form.grace, Actor.of_request(request))
        self.log_change(request, row, f"New secret, grace {form.cleaned_data['grace_minutes']} min.")
        return issued
