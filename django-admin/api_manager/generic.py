"""Generic classes of Django and of the theme, which only the type checker knows to be generic.

Of its lists the admin class says besides what an address may ask for, and a form may choose.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core import paginator
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold import admin

_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_OF_A_COLUMN: Final = ("", "__exact", "__id__exact", "__isnull", "__gte", "__lt")
"""What the filters of a column write behind its name."""


def _is_offered(filters: Iterable[Any], lookup: str, value: str) -> bool:
    """Whether a list's filters offer a look-up.

    Django takes any, of any column: a regular expression that reads the whole table, a digest by its
    beginning, a value that PostgreSQL cannot read.
    """
    if "\0" in value:  # PostgreSQL has none in a text
        return False
    columns = {each for each in filters if isinstance(each, str)}
    offered = {f"{column}{suffix}" for column in columns for suffix in _OF_A_COLUMN}
    return lookup in offered | {each.parameter_name for each in filters if not isinstance(each, str)}


if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, StackedInline
    from django.core.paginator import Paginator
    from django.forms import BaseInlineFormSet, ModelForm
else:

    class ModelAdmin(admin.ModelAdmin):
        """The theme's ``ModelAdmin``, which may be written ``ModelAdmin[Model]``."""

        def __class_getitem__(cls, _model: Any) -> type:
            return cls

        def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
            """Whether an address may ask for it; otherwise the answer is 400."""
            return _is_offered(self.get_list_filter(request), lookup, value)

        def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
            """Runs an action on the chosen rows; Django fails where one is chosen by what is no number."""
            if not all(map(_NUMBER.fullmatch, request.POST.getlist(ACTION_CHECKBOX_NAME))):
                raise BadRequest(f"{ACTION_CHECKBOX_NAME}: expected numbers of rows")
            return super().response_action(request, queryset)

    class StackedInline(admin.StackedInline):
        """The theme's ``StackedInline``, which may be written ``StackedInline[Model, Parent]``."""

        def __class_getitem__(cls, _models: Any) -> type:
            return cls

    class BaseInlineFormSet(forms.BaseInlineFormSet):
        """A ``BaseInlineFormSet`` that may be written ``BaseInlineFormSet[Model, Parent, Form]``."""

        def __class_getitem__(cls, _models: Any) -> type:
            return cls

    class Paginator(paginator.Paginator):
        """A ``Paginator`` that may be written ``Paginator[Model]``."""

        def __class_getitem__(cls, _model: Any) -> type:
            return cls

    class ModelForm(forms.ModelForm):
        """A ``ModelForm`` that may be written ``ModelForm[Model]``."""

        def __class_getitem__(cls, _model: Any) -> type:
            return cls


__all__ = ["BaseInlineFormSet", "ModelAdmin", "ModelForm", "Paginator", "StackedInline"]
