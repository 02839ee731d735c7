"""What the keys of another system look like, as an operator states it."""

from base64 import b64decode, b64encode
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from api_manager import credentials, foreign
from api_manager.models import ForeignFormat

from . import formats

MAX_UPLOAD_BYTES: Final = 600_000
"""Some 5,000 keys. nginx lets 1 MB pass, and the file comes back in base64."""
_MAX_NAME_LENGTH: Final = 100
_OWN_PREFIXES: Final = (f"{credentials.KEY_PREFIX}_", f"{credentials.MANAGEMENT_PREFIX}_")


class FormatForm(forms.Form):
    """What the keys of another system look like."""

    prefix = forms.RegexField(  # type: ignore[assignment]  # a field, which never becomes the form's own prefix
        r"\A[!-~]*\Z",
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "Printable ASCII without spaces only."},
        help_text="What all of the keys begin with, such as sk_live_; may be empty.",
    )
    min_length = forms.IntegerField(
        label="Shortest",
        min_value=foreign.MIN_SECRET_LENGTH,
        max_value=foreign.MAX_LENGTH,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Characters of the shortest key, with its prefix.",
    )
    max_length = forms.IntegerField(
        label="Longest",
        min_value=foreign.MIN_SECRET_LENGTH,
        max_value=foreign.MAX_LENGTH,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="Characters of the longest key.",
    )

    alphabet = forms.ChoiceField(
        choices=ForeignFormat.Alphabet.choices,
        initial=ForeignFormat.Alphabet.BASE62,
        widget=UnfoldAdminSelectWidget,
        help_text="What may follow the prefix.",
    )

    @property
    def stated(self) -> ForeignFormat:
        """The answer, once the form is valid; it may be kept already."""
        return ForeignFormat(**{name: self.cleaned_data[name] for name in formats.FIELDS})

    def clean_prefix(self) -> str:
        """Refuses the prefixes of our own credentials."""
        prefix: str = self.cleaned_data["prefix"]
        if prefix.startswith(_OWN_PREFIXES):
            raise ValidationError("So begin the keys and tokens that are issued here.")
        return prefix

    def clean(self) -> dict[str, Any]:
        """Refuses keys that could be guessed, and a length that is none."""
        data = self.cleaned_data
        shortest, longest, prefix = data.get("min_length"), data.get("max_length"), data.get("prefix")
        least = len(prefix or "") + foreign.MIN_SECRET_LENGTH
        if shortest is not None and shortest < least:
            secret = foreign.MIN_SECRET_LENGTH
            text = (
                f"A key needs {secret} characters after its prefix, or it could be guessed: {least} in all."
            )
            self.add_error("min_length", text)
        if shortest is not None and longest is not None and longest < shortest:
            self.add_error("max_length", "The longest key cannot be shorter than the shortest.")
        return data


class UploadForm(FormatForm):
    """A file of keys and their format; once it has been looked at, the file comes back as the page has it."""

    file = forms.FileField(
        required=False,
        allow_empty_file=True,
        widget=forms.FileInput(attrs={"class": "file-input", "accept": ".csv,text/csv"}),
        help_text=f"CSV in UTF-8, {MAX_UPLOAD_BYTES // 1000} kB at most; its first line names the columns.",
    )
    content = forms.CharField(required=False, widget=forms.HiddenInput)
    file_name = forms.CharField(required=False, max_length=_MAX_NAME_LENGTH, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """Finds the file, and refuses one that is missing or too large."""
        data = super().clean()
        upload = data.get("file")
        if upload is not None:
            self.uploaded, self.name = upload.read(MAX_UPLOAD_BYTES + 1), upload.name[-_MAX_NAME_LENGTH:]
        else:
            self.uploaded, self.name = _decoded(data.get("content", "")), data.get("file_name", "")
        if not self.name:
            self.add_error("file", "Choose a file.")
        elif credentials.stands_in(self.name):
            self.add_error("file", "Its name holds an API key, and it would be stored and shown.")
        elif len(self.uploaded) > MAX_UPLOAD_BYTES:
            self.add_error("file", "This is too large for a page; manage.py import_keys takes any size.")
        return data

    @property
    def again(self) -> dict[str, str]:
        """What the page that asks whether it is meant sends again."""
        kept = {name: str(self.cleaned_data[name]) for name in formats.FIELDS}
        return kept | {"content": b64encode(self.uploaded).decode(), "file_name": self.name}


def _decoded(content: str) -> bytes:
    try:
        return b64decode(content, validate=True)
    except ValueError:
        return b""
