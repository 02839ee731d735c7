"""What an operator says before many keys are changed: why, to what, and how many are meant."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from . import credentials
from .models import MAX_REASON_LENGTH, Tier


class _CountedForm(forms.Form):
    """Asks for the number of keys: who types it has looked at it."""

    count = forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget)

    def __init__(self, data: Any, expected: int) -> None:
        super().__init__(data)
        self._expected = expected
        self.fields["count"].help_text = f"Type {expected} to confirm."
        self.fields["count"].label = "How many keys"

    def clean_count(self) -> int:
        """Refuses another number than that of the keys, which may have changed meanwhile."""
        count: int = self.cleaned_data["count"]
        if count != self._expected:
            raise ValidationError(
                f"There are {self._expected}. Look again at what is chosen, then type that."
            )
        return count


class BulkRevokeForm(_CountedForm):
    """Why keys are revoked."""

    reason = forms.CharField(
        max_length=MAX_REASON_LENGTH,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="It stands on each key and in the audit.",
    )
    field_order = ("reason", "count")

    def clean_reason(self) -> str:
        """Refuses a key that was pasted here."""
        reason: str = self.cleaned_data["reason"]
        if credentials.stands_in(reason):
            raise ValidationError("This holds an API key, and it would be stored and shown.")
        return reason


class TierChoiceForm(forms.Form):
    """To which tier."""

    tier = forms.ModelChoiceField(
        Tier.objects.all(), widget=UnfoldAdminSelectWidget, empty_label=None, label="New tier"
    )


class BulkRetierForm(_CountedForm):
    """How many keys move to the tier that was chosen."""
