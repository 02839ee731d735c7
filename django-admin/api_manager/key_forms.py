"""Forms of one thing each that is done with a key: when it expires, from where it may come, why it ends."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from .forms import without_key
from .generic import ModelForm
from .models import MAX_REASON_LENGTH, APIKey

EXTENSIONS_DAYS: Final = (30, 90)
_NEVER: Final = "never"
_DATE: Final = "date"


class ExpiryForm(ModelForm[APIKey]):
    """When a key expires: some days later, at a moment, or never."""

    until = forms.ChoiceField(label="Until when it works", widget=UnfoldAdminRadioSelectWidget)
    expires_at = forms.DateTimeField(
        label="The date",
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"}),
        help_text="UTC; only for “Until a date”.",
    )

    field_order = ("until", "expires_at")

    class Meta:  # noqa: D106  # Django's own
        model = APIKey
        fields = ("expires_at",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["expires_at"] = None  # what is typed is the new one; the page shows the old one
        now, old = timezone.now(), self.instance.expires_at
        begins_at = now if old is None else max(old, now)
        self._ends = {str(days): begins_at + timedelta(days=days) for days in EXTENSIONS_DAYS}
        more = "" if old is None else " more"
        self.fields["until"].choices = [  # type: ignore[attr-defined]  # a ChoiceField, seen as a Field
            *(
                (days, f"{days} days{more}: until {ends:%Y-%m-%d %H:%M} UTC")
                for days, ends in self._ends.items()
            ),
            (_NEVER, "For ever: it never expires"),
            (_DATE, "Until a date:"),
        ]

    def clean(self) -> dict[str, Any]:
        """The moment that was chosen; refuses one that has passed, or that stands beside another choice."""
        data = super().clean() or self.cleaned_data
        until, date = data.get("until"), data.get("expires_at")
        if until == _DATE and "expires_at" not in self.errors:
            if date is None:
                self.add_error("expires_at", "Name the date.")
            elif date <= timezone.now():
                self.add_error("expires_at", "This time has passed. To end a key now, revoke it.")
        elif until is not None and date is not None:
            self.add_error("expires_at", "Leave this empty, or choose “Until a date”.")
        elif until is not None:
            data["expires_at"] = self._ends.get(until)
        return data


class NetworksForm(ModelForm[APIKey]):
    """From where a key may be used."""

    class Meta:  # noqa: D106  # Django's own
        model = APIKey
        fields = ("allowed_cidrs",)


class RevokeForm(forms.Form):
    """That a key is meant to end, and why."""

    confirmation = forms.CharField(
        max_length=200,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    reason = forms.CharField(
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="For the audit and the key's page; its holder does not see it.",
    )

    def __init__(self, *args: Any, key: APIKey, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._key = key
        self.fields["confirmation"].label = f"To confirm, type the key's name: {key.name}"
        self.fields["confirmation"].help_text = f"Or its hint: {key.hint}"

    def clean_confirmation(self) -> str:
        """Refuses another key's name."""
        typed: str = self.cleaned_data["confirmation"]
        if typed not in {self._key.name.strip(), self._key.hint}:
            raise ValidationError("This is neither the name nor the hint of the key. Nothing was revoked.")
        return typed

    def clean_reason(self) -> str:
        """Refuses a key that was pasted here."""
        return without_key(self.cleaned_data["reason"])
