"""Filters that never ask a large table for the values it holds."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from api_manager import analytics
from api_manager.generic import ModelAdmin
from api_manager.models import APIKey, EndpointHourly

Status = APIKey.Status
OUTCOMES: Final = {200: "allowed", 429: "limited", 403: "refused"}
"""What the API service records, by status code."""
OTHER_ENDPOINTS: Final = "(other)"
"""What the drain counts as one, beyond as many endpoints an hour as count by themselves."""


class StatusFilter(admin.SimpleListFilter):
    """What keys are good for now: ``APIKey.status``, said in SQL."""

    title = "status"
    parameter_name = "status"

    def lookups(self, _request: HttpRequest, _model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Every status."""
        return [(status.value, status.label) for status in Status]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The keys that have the chosen status."""
        chosen = self.value()
        if chosen is None or chosen not in Status:
            return queryset
        return queryset.filter(status_condition(Status(chosen)))


def status_condition(status: Status) -> Q:
    """Which keys have this status now."""
    revoked = Q(revoked_at__isnull=False)
    expired = Q(expires_at__isnull=False, expires_at__lte=timezone.now())
    match status:
        case Status.REVOKED:
            return revoked
        case Status.EXPIRED:
            return ~revoked & expired
        case Status.PAUSED:
            return ~revoked & ~expired & Q(is_active=False)
        case Status.ACTIVE:
            return ~revoked & ~expired & Q(is_active=True)


class AttentionFilter(admin.SimpleListFilter):
    """The keys that somebody should look at."""

    title = "attention"
    parameter_name = "attention"
    TITLES: Final = {"expiring": "Expiring within 7 days", "unused": "Unused for 30 days"}

    def lookups(self, _request: HttpRequest, _model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Every reason to."""
        return list(self.TITLES.items())

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The keys for which the chosen reason holds."""
        chosen = self.value()
        if chosen is None or chosen not in self.TITLES:
            return queryset
        return queryset.filter(pk__in=self.keys(chosen, timezone.now()).order_by().values("pk"))

    @staticmethod
    def keys(name: str, now: datetime) -> QuerySet[APIKey]:
        """The keys for which a reason holds, the most pressing first."""
        return analytics.expiring_keys(now) if name == "expiring" else analytics.unused_keys(now)


class InputFilter(admin.SimpleListFilter):
    """A field to type into, where the choices would be too many to list."""

    template = "api_manager/input_filter.html"
    input_type = "text"

    def lookups(self, _request: HttpRequest, _model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """One, so that the filter is shown."""
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What the template needs: the other parameters of the page, and a way to drop this one."""
        ours = {self.parameter_name, PAGE_VAR}
        yield {
            "others": [
                (name, value)
                for name, values in changelist.filter_params.items()
                if name not in ours
                for value in values
            ],
            "reset": changelist.get_query_string(remove=[str(self.parameter_name)]) if self.value() else None,
        }


class NumberFilter(InputFilter):
    """The rows with a number in a column; ``parameter_name`` names the column, too."""

    input_type = "number"

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of that number; none for what is not a number the column can hold."""
        text = self.value()
        if not text:
            return queryset
        if not (text.isascii() and text.isdecimal() and int(text) < 2**63):
            return queryset.none()
        return queryset.filter(**{str(self.parameter_name): int(text)})


class KeyFilter(NumberFilter):
    """The rows of one key, by its number."""

    title = "key number"
    parameter_name = "api_key"


class TargetFilter(NumberFilter):
    """The events of the key, the tier and the management token of a number."""

    title = "target number"
    parameter_name = "target_id"


class EndpointFilter(InputFilter):
    """The rows of one endpoint."""

    title = "endpoint (exact)"
    parameter_name = "endpoint"

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows of that endpoint."""
        endpoint = self.value()
        if not endpoint:
            return queryset
        if "\0" in endpoint:  # PostgreSQL has none in text, so no row has one either
            return queryset.none()
        # The hours are few, and those of all keys together: without them a rare endpoint would be looked for
        # in every row. Beyond the cap of these an endpoint of a key is among the others.
        hours = EndpointHourly.objects.filter(endpoint__in=(endpoint, OTHER_ENDPOINTS)).values("hour")
        return queryset.filter(endpoint=endpoint, hour__in=hours)
