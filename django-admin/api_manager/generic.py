"""Generic classes of Django and of the theme, which only the type checker knows to be generic."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core import paginator
from unfold import admin

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, StackedInline
    from django.core.paginator import Paginator
    from django.forms import BaseInlineFormSet, ModelForm
else:

    class ModelAdmin(admin.ModelAdmin):
        """The theme's ``ModelAdmin``, which may be written ``ModelAdmin[Model]``."""

        def __class_getitem__(cls, _model: Any) -> type:
            return cls

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
