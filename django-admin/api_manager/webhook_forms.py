"""What an operator may say of a webhook."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from .forms import without_key
from .generic import ModelForm
from .models import Notice, Webhook
from .notices import addresses, signature

_CHOICES = [choice for choice in Notice.Kind.choices if choice[0] != Notice.Kind.PING]


class WebhookForm(ModelForm[Webhook]):
    """A webhook."""

    url = forms.CharField(
        label="URL",
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Such as https://example.com/hooks; with http only on this machine.",
    )
    kinds = forms.MultipleChoiceField(
        label="Notices",
        choices=_CHOICES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        error_messages={"required": "Choose at least one."},
        help_text="What it is told.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = Webhook
        fields = Webhook.FIELDS

    def clean_name(self) -> str:
        """Refuses a key that was pasted here."""
        return without_key(self.cleaned_data["name"])

    def clean_url(self) -> str:
        """Refuses an address that no webhook may have; its name is resolved at each attempt, and not here."""
        url = without_key(self.cleaned_data["url"])
        try:
            addresses.check(url)
        except addresses.RefusedError as exc:
            raise ValidationError(str(exc)) from exc
        return url

    def clean(self) -> dict[str, Any]:
        """Refuses a new one where nothing could sign for it."""
        if self.instance.pk is None and not signature.is_possible():
            raise ValidationError(str(signature.NoSecretKeyError()))
        return super().clean() or self.cleaned_data
