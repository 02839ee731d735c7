"""What an operator may say of a key, tier or management token, in the admin site and in commands; codes."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from . import credentials, keys, second_factor, tiers, tokens
from .generic import ModelForm
from .importing import formats
from .models import (
    MAX_BURST,
    MAX_INCLUDED_REQUESTS,
    MAX_PRICE,
    MAX_REFILL_HOURS,
    MAX_REQUESTS_PER_HOUR,
    APIKey,
    ManagementToken,
    Tier,
)

MAX_GRACE: Final = timedelta(days=90)


def _bounded(label: str, highest: int, **options: Any) -> forms.IntegerField:
    return forms.IntegerField(
        label=label, min_value=1, max_value=highest, widget=UnfoldAdminIntegerFieldWidget, **options
    )


def _price(label: str, help_text: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=f"{label}, in {settings.CURRENCY}",
        min_value=Decimal(0),
        max_value=MAX_PRICE,
        decimal_places=4,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text=f"{help_text} Empty: 0.",
    )


def _refill_error(burst: int, requests_per_hour: int) -> str | None:
    """Why a bucket of this size is refused at this rate, if it is."""
    if burst <= requests_per_hour * MAX_REFILL_HOURS:
        return None
    return (
        f"At {requests_per_hour:,} requests per hour a burst of {burst:,} takes over ten years to refill; "
        f"{requests_per_hour * MAX_REFILL_HOURS:,} is the most."
    )


def without_key(text: str) -> str:
    """The text, unless a key was pasted into it: then ``ValidationError``."""
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
    price_per_month = _price("Price per month", "Of each key, by the hour: half a month costs half of it.")
    price_per_thousand = _price(
        "Price per thousand requests", "Of those that were allowed beyond the included."
    )
    included_requests = forms.IntegerField(
        label="Included requests",
        min_value=0,
        max_value=MAX_INCLUDED_REQUESTS,
        required=False,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Of each key and month (UTC), at no further price; empty: all of them.",
    )

    class Meta:  # noqa: D106  # Django's own
        model = Tier
        fields = tiers.FIELDS

    def clean_price_per_month(self) -> Decimal:
        """Nothing costs nothing."""
        return self.cleaned_data["price_per_month"] or Decimal(0)

    def clean_price_per_thousand(self) -> Decimal:
        """The same."""
        return self.cleaned_data["price_per_thousand"] or Decimal(0)

    def clean(self) -> dict[str, Any]:
        """Refuses a burst that takes too long to refill."""
        data = super().clean() or self.cleaned_data
        if data.get("burst") and data.get("requests_per_hour"):
            error = _refill_error(data["burst"], data["requests_per_hour"])
            if error:
                self.add_error("burst", error)
        return data


class LimitsForm(ModelForm[APIKey]):
    """A key's tier, and what overrides it."""

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
        fields = ("tier", "requests_per_hour", "burst")
        widgets = {"tier": UnfoldAdminSelectWidget}  # noqa: RUF012  # Django's own

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


class NoteForm(ModelForm[APIKey]):
    """What operators should know of a key."""

    class Meta:  # noqa: D106  # Django's own
        model = APIKey
        fields = ("note",)
        widgets = {"note": UnfoldAdminTextareaWidget}  # noqa: RUF012  # Django's own

    def clean_note(self) -> str:
        """Refuses a key that was pasted here."""
        return without_key(self.cleaned_data["note"])


class KeyForm(LimitsForm, NoteForm):
    """What an operator says of a key."""

    class Meta:  # noqa: D106  # Django's own
        model = APIKey
        fields = keys.FIELDS
        help_texts = {"expires_at": "UTC; empty: never."}  # noqa: RUF012  # Django's own

    def clean_name(self) -> str:
        """Refuses a key that was pasted here."""
        return without_key(self.cleaned_data["name"])

    def clean_owner_email(self) -> str:
        """The same."""
        return without_key(self.cleaned_data["owner_email"])

    def clean_expires_at(self) -> Any:
        """Refuses a new expiry that has passed already."""
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and "expires_at" in self.changed_data and expires_at <= timezone.now():
            raise ValidationError("This time has passed. To end a key now, revoke it; to stop it, pause it.")
        return expires_at


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
        self.has_format = credentials.is_well_formed(secret) or formats.is_one(secret)
        # An imported key is found even where its format was stated wrongly: the page then says so.
        found = APIKey.objects.filter(digest=credentials.digest(secret)).first() if secret.isascii() else None
        if found is None and not self.has_format:
            raise ValidationError(
                "This is not a key of ours: its shape or its checksum is wrong. Was it copied whole?",
                code="malformed",
            )
        if found is None:
            raise ValidationError(
                "The key is well formed, but unknown here: it was never issued by this installation.",
                code="unknown",
            )
        return found


class CodeForm(forms.Form):
    """A code of the second factor: the app's, or a backup code; spaces and hyphens do not matter."""

    code = forms.CharField(
        max_length=20,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "autofocus": True}),
    )

    def clean_code(self) -> str:
        """The code as it is compared."""
        code = "".join(self.cleaned_data["code"].replace("-", " ").split()).lower()
        if not second_factor.CODE.fullmatch(code):
            raise ValidationError("Enter the six digits that the app shows, or one of your backup codes.")
        return code
