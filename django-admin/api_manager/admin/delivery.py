"""The log of deliveries: what was sent to webhooks, what came back, and a second chance for what is dead."""

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from api_manager.models import Delivery
from api_manager.notices import outbox

from .filters import NumberFilter
from .links import delivery_url, key_url, webhook_url
from .readonly import ReadOnlyAdmin


class NoticedKeyFilter(NumberFilter):
    """The deliveries about one key, by its number."""

    title = "key number"
    parameter_name = "notice__api_key"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin[Delivery]):
    """Deliveries of the last 30 days."""

    empty_hint = "What webhooks are told is written here. Add one, and send it a ping."
    list_display = ("created_at", "kind", "webhook", "state", "attempts", "answered", "attempted_at")
    list_filter = ("status", "webhook", "notice__kind", NoticedKeyFilter)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        """Deliveries with what each says."""
        return super().get_queryset(request).select_related("notice", "webhook")

    def get_urls(self) -> list[URLPattern]:
        """Ours come first: Django's last one takes any path for a row's id."""
        retry = path(
            "<int:delivery_id>/retry/",
            self.admin_site.admin_view(require_POST(self.retry_view)),
            name="api_manager_delivery_retry",
        )
        return [retry, *super().get_urls()]

    @admin.display(description="notice", ordering="notice__kind")
    def kind(self, delivery: Delivery) -> str:
        """What it tells."""
        return delivery.notice.kind

    @admin.display(description="status")
    def state(self, delivery: Delivery) -> SafeString:
        """How far it came."""
        return format_html(
            '<span class="status status-{}">{}</span>', delivery.status, delivery.get_status_display()
        )

    @admin.display(description="answer")
    def answered(self, delivery: Delivery) -> str:
        """The last answer's status, or that there was none."""
        if delivery.attempted_at is None:
            return self.get_empty_value_display()
        return f"{delivery.status_code or 'none'}, {delivery.duration_ms:,} ms"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The delivery's page: what was sent, what came back."""
        delivery = self.get_object(request, object_id)
        if delivery is None or request.method == "POST" or not self.has_view_permission(request, delivery):
            return super().change_view(request, object_id, form_url, extra_context)  # it refuses
        notice = delivery.notice
        return TemplateResponse(
            request,
            "admin/api_manager/delivery/delivery.html",
            {
                **self.admin_site.each_context(request),
                "title": f"{notice.kind} to {delivery.webhook}",
                "opts": self.opts,
                "media": self.media,
                "original": delivery,
                "data": json.dumps(notice.data, indent=2, ensure_ascii=False),
                "key_url": key_url(notice.api_key_id) if notice.api_key_id else None,
                "webhook_url": webhook_url(delivery.webhook_id),
                "may_retry": delivery.status == outbox.Status.DEAD and _may_retry(request),
            },
        )

    def retry_view(self, request: HttpRequest, delivery_id: int) -> HttpResponse:
        """Has a dead delivery begin anew."""
        if not _may_retry(request):
            raise PermissionDenied
        if not Delivery.objects.filter(pk=delivery_id).exists():
            raise Http404("no such delivery")
        if outbox.retry(delivery_id):
            self.message_user(request, "It is sent again soon, under the same id.", messages.SUCCESS)
        else:
            self.message_user(request, "Only what is dead is retried.", messages.ERROR)
        return HttpResponseRedirect(delivery_url(delivery_id))


def _may_retry(request: HttpRequest) -> bool:
    """Whoever may change webhooks may have them told again."""
    return request.user.has_perm("api_manager.change_webhook")
