"""What an operator may say of a key, tier or management token; the same in the admin site and in commands."""

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)

from . import credentials, keys, tiers, tokens
from .generic import ModelForm
from .models import MAX_BURST, MAX_REFILL_HOURS, MAX_REQUESTS_PER_HOUR, APIKey, ManagementToken, Tier

MAX_GRACE: Final = timedelta(days=90)


def _bounded(label: str, highest: int, **options: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, min_value=1, max_value=highest, widget=UnfoldAdminIntegerFieldWidget, **options
    )


def _refill_error(burst: int, requests_per_hour: int) -> str | None:
    """Why a bucket of this size is refused at this rate, if it is."""
    if burst <= requests_per_hour * MAX_REFILL_HOURS:
        return None
    return (
        f"At {requests_per_hour:,} requests per hour a burst of {burst:,} takes over ten years to refill; "
        f"{requests_per_hour * MAX_REFILL_HOURS:,} is the most."
    )


def _without_key(text: str) -> str:
    if credentials.stands_in(text):
        raise ValidationError("This holds an API key, and it would be stored and shown.")
    return text


class TierForm(ModelForm[Tier]):
    """A tier."""

    name = forms.RegexField(
        r"\A[a-z0-9][a-z0-9_-]*\Z",
        max_length=50,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "Lower-case letters, digits, - and _ only."},
        help_text="Lower-case letters, digits, - and _; shown to clients.",
    )
    requests_per_hour = _bounded(
        "Requests per hour", MAX_REQUESTS_PER_HOUR, help_text="The rate at which tokens come back."
    )
    burst = _bounded(
        "Burst",
        MAX_BURST,
        required=False,
        help_text="The bucket's capacity; empty: as many as requests per hour.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = Tier
        fields = tiers.FIELDS

    def clean(self) -> dict[str, Any]:
        """Refuses a burst that takes too long to refill."""
        data = super().clean() or self.cleaned_data
        if data.get("burst") and data.get("requests_per_hour"):
            error = _refill_error(data["burst"], data["requests_per_hour"])
            if error:
                self.add_error("burst", error)
        return data


class KeyForm(ModelForm[APIKey]):
    """What an operator says of a key."""

    requests_per_hour = _bounded(
        "Requests per hour",
        MAX_REQUESTS_PER_HOUR,
        required=False,
        help_text="Overrides the tier's rate; empty: the tier's.",
    )
    burst = _bounded(
        "Burst",
        MAX_BURST,
        required=False,
        help_text="Overrides the bucket's capacity; empty: the tier's.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = APIKey
        fields = keys.FIELDS
        help_texts = {"expires_at": "UTC; empty: never."}  # noqa: RUF012  # Django's own

    def clean_name(self) -> str:
        """Refuses a key that was pasted here."""
        return _without_key(self.cleaned_data["name"])

    def clean_owner_email(self) -> str:
        """The same."""
        return _without_key(self.cleaned_data["owner_email"])

    def clean_note(self) -> str:
        """The same."""
        return _without_key(self.cleaned_data["note"])

    def clean_expires_at(self) -> Any:
        """Refuses a new expiry that has passed already."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and "expires_at" in self.changed_data and expires_at <= timezone.now():
            raise ValidationError("This time has passed. To end a key now, revoke it; to stop it, pause it.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        """Refuses a burst that takes too long to refill, at the key's own rate or its tier's."""
        data = super().clean() or self.cleaned_data
        tier = data.get("tier")
        if tier is not None and not {"burst", "requests_per_hour"} & set(self.errors):
            own_burst, rate = data["burst"], data["requests_per_hour"] or tier.requests_per_hour
            error = _refill_error(own_burst or tier.burst or rate, rate)
            if error:
                self.add_error("burst" if own_burst else "requests_per_hour", error)
        return data


class TokenForm(ModelForm[ManagementToken]):
    """A management token to be issued."""

    name = forms.RegexField(
        r"\A[a-z0-9][a-z0-9_.-]*\Z",
        max_length=50,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "Lower-case letters, digits, ., - and _ only."},
        help_text="Lower-case letters, digits, ., - and _; the audit says api: and this name.",
    )
    scopes = forms.MultipleChoiceField(
        choices=ManagementToken.Scope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        error_messages={"required": "Choose at least one."},
        help_text="What it opens; that never changes afterwards.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = ManagementToken
        fields = tokens.FIELDS

    def clean_name(self) -> str:
        """Refuses a name by which the audit means another."""
        name: str = self.cleaned_data["name"]
        if name == tokens.BOOTSTRAP_NAME:
            raise ValidationError("The audit so calls the token of the API's environment.")
        if ManagementToken.objects.filter(name=name).exists():
            raise ValidationError("Another token has or had this name; to renew that one, rotate it.")
        return name

    def clean_expires_at(self) -> Any:
        """Refuses an expiry that has passed already."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("This time has passed.")
        return expires_at


class RotateForm(forms.Form):
    """How long the old key or token goes on working."""

    grace_minutes = forms.IntegerField(
        label="Grace, in minutes",
        min_value=0,
        max_value=int(MAX_GRACE.total_seconds() // 60),
        initial=60,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How long the old one still works, so that its users can change over. 0: not at all.",
    )

    @property
    def grace(self) -> timedelta:
        """The answer, once the form is valid."""
        return timedelta(minutes=self.cleaned_data["grace_minutes"])


class FindForm(forms.Form):
    """A pasted key. It is looked up by its digest, and never shown again or kept."""

    key = forms.CharField(
        label="Key",
        max_length=200,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off", "autofocus": True}),
        help_text="The whole key, as its holder sends it. It is not stored or logged.",
    )

    def clean_key(self) -> APIKey:
        """The key's row."""
        secret = self.cleaned_data["key"]
        if not credentials.is_well_formed(secret):
            raise ValidationError(
                "This is not a key of ours: its shape or its checksum is wrong. Was it copied whole?",
                code="malformed",
            )
        found = APIKey.objects.filter(digest=credentials.digest(secret)).first()
        if found is None:
            raise ValidationError(
                "The key is well formed, but unknown here: it was never issued by this installation.",
                code="unknown",
            )
        return found
