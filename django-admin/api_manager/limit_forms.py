"""What an operator may say of a tier's limits, and of a key's own numbers for them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from .forms import _bounded, without_key
from .generic import BaseInlineFormSet, ModelForm
from .models import (
    MAX_BURST,
    MAX_REFILL_HOURS,
    MAX_REQUESTS_PER_HOUR,
    MAX_WINDOW_SECONDS,
    KeyLimit,
    Tier,
    TierLimit,
)

MAX_LIMITS: Final = 8
"""Limits of a tier at most: each stands in the headers of every answer."""

_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f]")


def _name(help_text: str) -> forms.RegexField:
    return forms.RegexField(
        r"\A[a-z][a-z0-9_]*\Z",
        max_length=31,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "A letter, then letters, digits and _; all in lower case."},
        help_text=help_text,
    )


class TierLimitForm(ModelForm[TierLimit]):
    """One of a tier's limits."""

    name = _name("Lower-case letters, digits and _; shown to clients.")
    requests = _bounded(
        "Requests", MAX_REQUESTS_PER_HOUR, help_text="That come back in the window, or that the period has."
    )
    window_seconds = _bounded(
        "Window in seconds",
        MAX_WINDOW_SECONDS,
        required=False,
        help_text="Of a bucket; 3600: an hour.",
    )
    burst = _bounded(
        "Burst", MAX_BURST, required=False, help_text="Of a bucket: its capacity; empty: as many as requests."
    )
    endpoint_prefix = forms.CharField(
        required=False,
        max_length=200,
        strip=False,
        empty_value=None,
        widget=UnfoldAdminTextInputWidget,
        help_text="Only for endpoints that begin with it; empty: for all.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = TierLimit
        fields = TierLimit.FIELDS

    def clean_name(self) -> str:
        """Refuses the name of the tier's own bucket."""
        name: str = self.cleaned_data["name"]
        if name == "default":
            raise ValidationError("The tier's own rate and burst have this name; choose another.")
        return name

    def clean_endpoint_prefix(self) -> str | None:
        """Refuses what no endpoint begins with, and a key that was pasted here."""
        prefix: str | None = self.cleaned_data["endpoint_prefix"]
        if prefix is None:
            return None
        if not prefix.strip():
            raise ValidationError("Say how the endpoints begin, or leave it empty for all of them.")
        if _CONTROL_CHARACTER.search(prefix):
            raise ValidationError("No endpoint has a control character, such as a tab, in it.")
        return without_key(prefix)

    def clean(self) -> dict[str, Any]:
        """Refuses what is neither a bucket nor a quota, and numbers that do not go together."""
        data = super().clean() or self.cleaned_data
        if self.errors:
            return data
        window, period = data["window_seconds"], data["period"]
        if window and period:
            self.add_error("period", "A limit has either a window or a period; empty one of them.")
        elif not window and not period:
            self.add_error("window_seconds", "A limit has either a window or a period; say one of them.")
        elif period and data["burst"]:
            self.add_error("burst", "A quota has no burst: all of it may be spent at once. Leave it empty.")
        elif window:
            _refuse_out_of_bounds(self, data["requests"], window, data["burst"])
        return data


def _refuse_out_of_bounds(form: forms.BaseForm, requests: int, window: int, burst: int | None) -> None:
    most = MAX_REQUESTS_PER_HOUR * window // 3600
    most_burst = requests * MAX_REFILL_HOURS * 3600 // window
    if requests > most:
        form.add_error("requests", f"In {window:,} s there may be {most:,} at most.")
    elif burst and burst > most_burst:
        form.add_error(
            "burst" if form.cleaned_data["burst"] else "requests",  # the burst may be the tier's
            f"At this rate a burst of {burst:,} takes over ten years to refill; {most_burst:,} is the most.",
        )


class KeyLimitForm(ModelForm[KeyLimit]):
    """A key's own numbers for one of its tier's limits."""

    name = _name("Of one of the tier's limits.")
    requests = _bounded("Requests", MAX_REQUESTS_PER_HOUR, help_text="Instead of the tier's.")
    burst = _bounded(
        "Burst", MAX_BURST, required=False, help_text="Of a bucket: instead of the tier's; empty: the tier's."
    )

    class Meta:  # noqa: D106  # Django's own
        model = KeyLimit
        fields = KeyLimit.FIELDS


_SAME_NAME: Final = "Two limits have the same name; each needs one of its own."
_NAME_IS_TAKEN: Final = "There is another limit of this name; change or delete that one first."


def _is_deleted(form: ModelForm[Any]) -> bool:
    return not form.errors and bool(form.cleaned_data.get("DELETE"))


class _LimitFormSet(BaseInlineFormSet[Any, Any, Any]):
    """Limits of one tier or key, each with a name of its own.

    A page may propose some: ``proposed`` are the fields of each, by name. A row of that name shows them in
    the place of its own; what has no row yet has a new one. Nothing is saved by that. Rows of other names
    are marked to be deleted where ``is_whole``.
    """

    is_whole = False

    def __init__(
        self, *args: Any, proposed: Mapping[str, dict[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        self._proposed = proposed
        super().__init__(*args, **kwargs)
        if proposed is not None:
            there = {row.name for row in self.get_queryset()}
            self.initial_extra = [fields for name, fields in proposed.items() if name not in there]
            self.extra = len(self.initial_extra)

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        """Of a row also what is proposed for it."""
        kwargs: dict[str, Any] = super().get_form_kwargs(index)
        if self._proposed is not None and index is not None and index < self.initial_form_count():
            name = self.get_queryset()[index].name
            left_out = {"DELETE": True} if self.is_whole else {}
            kwargs["initial"] = self._proposed.get(name, left_out)
        return kwargs

    def get_unique_error_message(self, _unique_check: Any) -> str:
        """What two of one name are told."""
        return _SAME_NAME

    def clean(self) -> None:
        """Refuses a name that a row has which was added meanwhile, or which is saved or deleted later.

        Django leaves it to the database: in an inline it looks at no ``UniqueConstraint``.
        """
        super().clean()
        if self.instance.pk is None:
            return
        rows = dict(self.instance.limits.values_list("name", "pk"))
        # Of those that the page knows, what is new is saved last.
        freed = {
            form.instance.pk
            for form in self.initial_forms
            if _is_deleted(form) or "name" in form.changed_data
        }
        for form in self.forms:
            if form.errors or not form.has_changed() or _is_deleted(form):
                continue
            row, own = rows.get(form.cleaned_data["name"]), form.instance.pk
            if row not in {None, own} and (own is not None or row not in freed):
                form.add_error("name", _NAME_IS_TAKEN)


class TierLimitFormSet(_LimitFormSet):
    """A tier's limits."""

    is_whole = True


class KeyLimitFormSet(_LimitFormSet):
    """A key's own numbers, which need a limit of its tier to stand for."""

    def clean(self) -> None:
        """Refuses new or changed ones for a limit that the tier has not, or that they do not go with."""
        super().clean()
        tier = Tier.objects.filter(pk=self.instance.tier_id).first()
        limits = {limit.name: limit for limit in tier.limits.all()} if tier else {}
        for form in self.forms:
            if not form.has_changed() or form.errors or form in self.deleted_forms:
                continue
            limit = limits.get(form.cleaned_data["name"])
            if limit is None:
                has = f"it has {', '.join(limits)}" if limits else "it has none"
                form.add_error("name", f"The tier {tier} has no limit of this name; {has}.")
            elif limit.period and form.cleaned_data["burst"]:
                form.add_error("burst", "This limit is a quota, which has no burst. Leave it empty.")
            elif limit.window_seconds:
                burst = form.cleaned_data["burst"] or limit.burst
                _refuse_out_of_bounds(form, form.cleaned_data["requests"], limit.window_seconds, burst)
