"""Networks in a column and in a form: PostgreSQL's ``cidr[]``, which Django does not know."""

from typing import Any, Final

from django import forms
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.validators import ArrayMaxLengthValidator
from django.core.exceptions import ValidationError
from django.db import models
from psycopg2 import STRING
from psycopg2.extensions import new_array_type, register_type

from . import cidrs

_CIDR_ARRAY_OID: Final = 651

# psycopg2 reads no array of networks by itself: it would give the text that PostgreSQL sends.
register_type(new_array_type((_CIDR_ARRAY_OID,), "CIDR[]", STRING))


class CidrField(models.Field):  # type: ignore[type-arg]  # generic to the type checker only
    """A network, as PostgreSQL writes it: ``10.0.0.0/8``."""

    description = "A network"

    def db_type(self, connection: Any) -> str:  # noqa: ARG002  # Django's signature
        """PostgreSQL's type."""
        return "cidr"

    def to_python(self, value: Any) -> str:
        """The network's canonical form. Raises ``ValidationError`` for what is none."""
        try:
            return str(cidrs.parse(value))
        except ValueError as exc:
            raise ValidationError(str(exc), code="invalid") from exc


class CidrsFormField(forms.CharField):
    """Networks, one a line. Those that are wrong are all named in its errors."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        """What the form shows of the networks that are stored."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]  # a list of texts
        """The networks, each once. Raises ``ValidationError`` with a message for each that is wrong."""
        text = value if isinstance(value, str) else self.prepare_value(value or [])
        networks: dict[str, None] = {}
        errors = []
        for entry in text.replace(",", " ").split():
            try:
                networks[str(cidrs.parse(entry))] = None
            except ValueError as exc:
                errors.append(ValidationError(str(exc), code="invalid"))
        if errors:
            raise ValidationError(errors)
        return list(networks)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether other networks were sent, however they are written."""
        try:
            return self.to_python(initial) != self.to_python(data)
        except ValidationError:
            return True


class CidrArrayField(ArrayField):  # type: ignore[type-arg]  # generic to the type checker only
    """Networks, ``cidrs.MAX_CIDRS`` at most; none: ``[]``."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("base_field", CidrField())
        super().__init__(**options)
        self.default_validators = [*self.default_validators, ArrayMaxLengthValidator(cidrs.MAX_CIDRS)]

    def formfield(self, **options: Any) -> Any:
        """A form's field that takes one a line."""
        return models.Field.formfield(self, form_class=CidrsFormField, **options)
