"""The pages beside a key's form: the one to look at, its bucket, and to find a key by pasting."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from api_manager import analytics, api_client, key_page, keys
from api_manager.chain import chain
from api_manager.forms import FindForm
from api_manager.models import APIKey

from .audit_event import what_changed
from .filters import OUTCOMES
from .key_actions import KeyActions
from .links import key_url
from .what_if import WhatIfPages


class KeyPages(WhatIfPages[APIKey], KeyActions):
    """Views of their own, each behind the admin site's login and permissions."""

    noun = "key"
    operations = keys
    related = ("tier",)

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """The pages of one key, and one to find a key."""
        return [
            ("find/", "find", self.find_view),
            ("<int:row_id>/bucket/", "bucket", self.bucket_view),
            ("<int:row_id>/what-if/", "what_if", self.what_if_view),
            *super().pages(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The key's page, to which every link of the site leads; a POST edits the key, as at ``edit/``."""
        if request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        key = self.get_object(request, object_id)
        if key is None:
            return super().change_view(request, object_id)  # Django says that it is not there
        if not self.has_view_permission(request, key):
            raise PermissionDenied
        return self.page(request, "key", key.name, original=key, **self._sections(request, key))

    @method_decorator(never_cache)
    def bucket_view(self, request: HttpRequest, row_id: int) -> HttpResponse:
        """A part of the key's page: its bucket now, or why that is not known.

        It is fetched by itself, so that the page never waits for the API.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        if not APIKey.objects.filter(pk=row_id).exists():
            raise Http404("no such key")
        answer = api_client.bucket(row_id)
        context: dict[str, Any] = {"is_configured": answer is not api_client.NOT_CONFIGURED}
        if isinstance(answer, api_client.Bucket):
            context |= {"bucket": answer, "wait": key_page.wait(answer.full_in_seconds)}
        else:
            context["reason"] = answer.reason
        return self.page(request, "bucket", "Bucket now", **context)

    @method_decorator(sensitive_post_parameters("key"))
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Leads from a pasted key to its page, or says what is wrong with it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FindForm(request.POST or None)
        if form.is_valid():
            if not form.has_format:
                text = "The API refuses this key: no import has stated a format that it has."
                self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(key_url(form.cleaned_data["key"].pk))
        return self.page(request, "find", "Find by pasted key", form=form)

    def _sections(self, request: HttpRequest, key: APIKey) -> dict[str, Any]:
        """What the page shows of a key; nothing that this operator may not see elsewhere."""
        span = analytics.RANGES.get(request.GET.get("range", analytics.DAY.name))
        if span is None:
            raise BadRequest(f"range: expected one of {', '.join(analytics.RANGES)}")
        now = timezone.now()
        sections: dict[str, Any] = {
            "now": now,
            "buttons": self.buttons(key) if self.has_change_permission(request, key) else [],
            "chain": chain(key),
            "may_ask_what_if": key_page.may_see(request, "tier") and key_page.may_see(request, "requestlog"),
            "ranges": analytics.RANGES.values(),
            "span": span,
        }
        if key_page.may_see(request, "usagehourly"):
            sections["chart"] = key_page.traffic_chart(key, span, now)
        if key_page.may_see(request, "requestlog"):
            sections["requests"] = [
                (row, OUTCOMES.get(row.status_code, "")) for row in key_page.last_requests(key)
            ]
        if key_page.may_see(request, "auditevent"):
            sections["events"] = [(event, what_changed(event)) for event in key_page.last_events(key)]
        return sections
