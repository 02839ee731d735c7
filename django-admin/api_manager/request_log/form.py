"""What an operator may ask the log for, as it stands in an address."""

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import QueryDict
from django.utils import timezone
from unfold.widgets import UnfoldAdminTextInputWidget

from api_manager import credentials
from api_manager.models import APIKey

from .criteria import LONGEST, Criteria, Network, Span
from .search import Position

RANGES: Final = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
DEFAULT_RANGE: Final = "24h"
MOST_KEYS: Final = 100
"""Keys that a part of a name or hint may mean at once."""
CLOCKS_APART: Final = timedelta(minutes=1)
"""How far Redis's clock, which dates the rows, may be ahead of ours: a range up to now holds these, too."""
_LONGEST_ENDPOINT: Final = 200
_CODE: Final = re.compile(r"[1-5](\d\d|\dx|xx)", re.ASCII)
_LOCAL_FORMAT: Final = "%Y-%m-%dT%H:%M:%S"


class CriteriaForm(forms.Form):
    """The filters. Whatever cannot be meant is an error of its field, and then nothing is looked for."""

    api_key = forms.CharField(
        label="Key",
        required=False,
        max_length=100,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "number, or part of its name or hint"}),
    )
    endpoint = forms.CharField(
        required=False,
        max_length=_LONGEST_ENDPOINT,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "/v1/orders, or /v1/*"}),
    )
    status_code = forms.CharField(
        label="Status",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "429, or 4xx"}),
    )
    client_ip = forms.CharField(
        label="Address",
        required=False,
        max_length=50,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "192.0.2.7, or 192.0.2.0/24"}),
    )
    range = forms.ChoiceField(
        label="Time",
        required=False,
        choices=[(name, title) for name, (title, _) in RANGES.items()],
        widget=forms.HiddenInput,
    )
    since = forms.DateTimeField(label="From (UTC)", required=False, widget=UnfoldAdminTextInputWidget)
    until = forms.DateTimeField(label="To (UTC)", required=False, widget=UnfoldAdminTextInputWidget)
    before = forms.CharField(required=False, widget=forms.HiddenInput)
    after = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict) -> None:
        self.now = timezone.now()
        # Django's own filters, and so links of before, name a field's lookup.
        data = data.copy()
        for name, old in (("api_key", "api_key__id__exact"), ("status_code", "status_code__exact")):
            if old in data and name not in data:
                data.setlist(name, data.getlist(old))
        super().__init__(data)
        for name in ("since", "until"):
            self.fields[name].widget.attrs |= {"type": "datetime-local", "step": "1"}
            self.fields[name].widget.input_type = "datetime-local"
        self.fields["range"].error_messages["invalid_choice"] = f"Expected one of {', '.join(RANGES)}."

    def clean(self) -> dict[str, Any]:
        """Refuses pasted keys: an export's criteria are kept in the audit."""
        data = super().clean() or self.cleaned_data
        for name in self.fields:
            if credentials.stands_in(self.data.get(name, "")):
                self.add_error(name, "This holds a whole key. Find its number by “Find by pasted key”.")
        return data

    def clean_api_key(self) -> tuple[int, ...] | None:
        """The numbers of the keys that are meant."""
        text: str = self.cleaned_data["api_key"]
        if not text:
            return None
        if text.isascii() and text.isdecimal():
            if not APIKey.objects.filter(pk=int(text)).exists():
                raise ValidationError(f"There is no key with the number {text[:20]}.")
            return (int(text),)
        if credentials.stands_in(text):
            return None  # said by clean
        meant = APIKey.objects.filter(Q(name__icontains=text) | Q(hint__icontains=text)).order_by("-pk")
        keys = tuple(meant.values_list("pk", flat=True)[: MOST_KEYS + 1])
        if not keys:
            raise ValidationError(
                "No key has this in its name or hint. A number means the key of that number."
            )
        if len(keys) > MOST_KEYS:
            raise ValidationError(
                f"More than {MOST_KEYS} keys have this in their name or hint; type more of it."
            )
        return keys

    def clean_endpoint(self) -> str:
        """An endpoint, or how it begins, with a ``*`` behind it."""
        text: str = self.cleaned_data["endpoint"]
        if text == "*":
            return ""
        if "*" in text[:-1]:
            raise ValidationError("A * may stand at the end only: /v1/* means all that begin with /v1/.")
        return text

    def clean_status_code(self) -> tuple[int, int] | None:
        """The lowest and the highest code that is meant."""
        text: str = self.cleaned_data["status_code"].strip().lower()
        if not text:
            return None
        lowest, highest = text.replace("x", "0"), text.replace("x", "9")
        if not _CODE.fullmatch(text):
            raise ValidationError("Expected a status code such as 429, or a class such as 4xx.")
        return int(lowest), int(highest)

    def clean_client_ip(self) -> Network | None:
        """The network that is meant; an address is one of its own."""
        text: str = self.cleaned_data["client_ip"].strip()
        if not text:
            return None
        try:
            return ip_network(text.replace("%", " "), strict=False)  # PostgreSQL's inet takes no zone
        except ValueError:
            raise ValidationError(
                "Expected an address such as 192.0.2.7, or a network: 192.0.2.0/24."
            ) from None

    def clean_before(self) -> Position | None:
        """Where an older page begins."""
        return self._position("before")

    def clean_after(self) -> Position | None:
        """Where a newer page begins."""
        return self._position("after")

    def _position(self, name: str) -> Position | None:
        try:
            return Position.parse(self.cleaned_data[name]) if self.cleaned_data[name] else None
        except ValueError:
            raise ValidationError(f"“{name}” names no place in the list; begin anew without it.") from None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, which its stubs leave out
        if not self.errors:
            self._clean_span()

    def _clean_span(self) -> None:
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        _, length = RANGES[self.cleaned_data["range"] or DEFAULT_RANGE]
        end = until or self.now + CLOCKS_APART
        try:
            span = Span(since or (until or self.now) - length, end)
        except OverflowError:
            self.add_error("until", "Expected a time of this century.")
            return
        if span.length <= timedelta():
            self.add_error("since" if since else "until", "It must begin before it ends.")
        elif span.length > LONGEST + CLOCKS_APART:
            self.add_error(
                "since", f"At most {LONGEST.days} days at once; what is older may be in the archive."
            )
        else:
            self.cleaned_data["span"] = span

    @property
    def range_title(self) -> str:
        """The quick range in force; empty where the ends were named."""
        if self.data.get("since") or self.data.get("until"):
            return ""
        return RANGES.get(self.data.get("range") or DEFAULT_RANGE, ("",))[0]

    @property
    def hidden_errors(self) -> list[str]:
        """What is wrong with what has no field to type into."""
        return [str(error) for field in self.hidden_fields() for error in field.errors]

    @property
    def criteria(self) -> Criteria:
        """What is meant; only of a valid form."""
        data = self.cleaned_data
        return Criteria(
            data["span"], data["api_key"], data["endpoint"], data["status_code"], data["client_ip"]
        )

    def link(self, **changes: Any) -> str:
        """The query of the same filters with some others; None and an empty text leave one out.

        A ``span`` stands for both of its ends. Where the list stood is forgotten.
        """
        span: Span | None = changes.pop("span", None)
        kept = {
            name: self.data.get(name, "").strip() for name in self.fields if name not in {"before", "after"}
        }
        if span is not None:
            kept |= {"range": "", "since": _local(span.start), "until": _local(span.end)}
        if kept["since"] or kept["range"] == DEFAULT_RANGE:
            kept["range"] = ""
        return "?" + urlencode({name: value for name, value in (kept | changes).items() if value})

    def fixed(self) -> str:
        """The query of the same rows at any later time, too: both ends stand in it."""
        return self.link(span=self.criteria.span)


def _local(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_LOCAL_FORMAT)
