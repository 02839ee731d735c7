"""What is done with many keys from their list: revoked, moved to another tier, exported."""

from collections.abc import Callable
from typing import Any, Final, cast

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.utils import timezone

from api_manager import audit, bulk
from api_manager.audit import Actor
from api_manager.bulk_forms import BulkRetierForm, BulkRevokeForm, TierChoiceForm
from api_manager.export import csv_lines
from api_manager.keys import ConflictError
from api_manager.models import APIKey, Tier

from .key_pages import KeyPages

MAX_EXPORTED: Final = 200_000
SHOWN: Final = 20
"""Keys that a page names; the others are counted."""


class BulkPages(KeyPages):
    """Actions that ask first, on a page that names the keys and wants their number.

    The page sends the list's own form again, with its address and so its filters, until all is said: what is
    chosen is chosen anew each time, and the number tells when that has changed.
    """

    @admin.action(description="Revoke selected keys…", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        """Asks why, and revokes."""
        chosen = queryset.filter(revoked_at__isnull=True)
        count = self._count(request, chosen, "All of these keys are revoked already.")
        if not count:
            return None
        form = BulkRevokeForm(_answers(request), count)
        if not form.is_valid():
            known = queryset.count() - count
            return self._ask(request, "bulk_revoke", f"Revoke {_keys(count)}", chosen, form, known=known)
        reason = form.cleaned_data["reason"]
        done = self._carry_out(
            request, chosen, f"Revoked: {reason}", lambda ids, actor: bulk.revoke(ids, actor, reason)
        )
        self.message_user(request, f"Revoked: {_keys(len(done))}.", messages.SUCCESS)
        return HttpResponseRedirect(request.get_full_path())

    @admin.action(description="Change the tier of selected keys…", permissions=["change"])
    def retier(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> HttpResponse | None:
        """Asks for the tier, shows what changes, and moves the keys."""
        chosen = queryset.filter(revoked_at__isnull=True)
        if not self._count(request, chosen, "All of these keys are revoked, which is final."):
            return None
        choice = TierChoiceForm(request.POST if "tier" in request.POST else None)
        if not choice.is_valid():
            tiers = bulk.tiers_of(chosen)
            return self._ask(request, "bulk_retier", "Change the tier", chosen, choice, tiers=tiers)
        return self._retier(request, chosen, choice.cleaned_data["tier"])

    def _retier(self, request: HttpRequest, chosen: QuerySet[APIKey], tier: Tier) -> HttpResponse | None:
        moving = chosen.exclude(tier=tier)
        count = self._count(request, moving, f"All of these keys have the tier {tier} already.")
        if not count:
            return None
        form = BulkRetierForm(_answers(request), count)
        if not form.is_valid():
            title = f"Move {_keys(count)} to {tier}"
            tiers = bulk.tiers_of(moving)
            return self._ask(request, "bulk_retier", title, moving, form, tiers=tiers, tier=tier)
        try:
            done = self._carry_out(
                request, moving, f"Moved to {tier}.", lambda ids, actor: bulk.retier(ids, tier, actor)
            )
        except ConflictError as exc:
            self.message_user(request, str(exc), messages.ERROR)
        else:
            self.message_user(request, f"Moved to {tier}: {_keys(len(done))}.", messages.SUCCESS)
        return HttpResponseRedirect(request.get_full_path())

    @admin.action(description="Export selected keys as CSV", permissions=["view"])
    def export(self, request: HttpRequest, queryset: QuerySet[APIKey]) -> StreamingHttpResponse | None:
        """A file of what is known of the keys, written while it is sent."""
        count = queryset.order_by()[: MAX_EXPORTED + 1].count()
        if count > MAX_EXPORTED:
            text = f"At most {intcomma(MAX_EXPORTED)} keys in a file: narrow the list by a filter."
            self.message_user(request, text, messages.ERROR)
            return None
        audit.record_export(Actor.of_request(request), {"table": "api_key", "rows": count, "format": "csv"})
        name = f"keys-{timezone.now():%Y-%m-%d}.csv"
        return StreamingHttpResponse(
            csv_lines(queryset),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )

    def _count(self, request: HttpRequest, chosen: QuerySet[APIKey], nothing: str) -> int:
        """How many keys are chosen; 0, and a message, where there is nothing to do or too much."""
        count = chosen.order_by()[: bulk.MAX_KEYS + 1].count()
        if not count:
            self.message_user(request, nothing, messages.WARNING)
        elif count > bulk.MAX_KEYS:
            text = f"At most {intcomma(bulk.MAX_KEYS)} keys at once: narrow the list by a filter."
            self.message_user(request, text, messages.ERROR)
            return 0
        return count

    @transaction.atomic
    def _carry_out(
        self,
        request: HttpRequest,
        chosen: QuerySet[APIKey],
        message: str,
        deed: Callable[[list[int], Actor], list[APIKey]],
    ) -> list[APIKey]:
        """Does it, and writes it into Django's history too."""
        done = deed(list(chosen.order_by().values_list("pk", flat=True)), Actor.of_request(request))
        LogEntry.objects.log_actions(cast("int", request.user.pk), done, CHANGE, message)
        return done

    def _ask(
        self, request: HttpRequest, page: str, title: str, chosen: QuerySet[APIKey], form: Any, **context: Any
    ) -> HttpResponse:
        shown = list(chosen.select_related("tier").order_by("-pk")[:SHOWN])
        repeated = [
            (name, value)
            for name in ("action", "select_across", ACTION_CHECKBOX_NAME)
            for value in request.POST.getlist(name)
        ]
        more = chosen.order_by().count() - len(shown)
        return self.page(
            request, page, title, form=form, shown=shown, more=more, repeated=repeated, **context
        )


def _answers(request: HttpRequest) -> Any:
    """What was said on the page; ``None`` where it has not been shown yet."""
    return request.POST if "count" in request.POST else None


def _keys(count: int) -> str:
    return f"{intcomma(count)} {'key' if count == 1 else 'keys'}"
