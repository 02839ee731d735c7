"""The pages beside a key's form: shown once, rotated and revoked, and found by pasting."""

from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from api_manager import keys
from api_manager.forms import FindForm
from api_manager.models import APIKey

from .issuing import IssuingPages
from .links import key_url


class KeyPages(IssuingPages[APIKey]):
    """Views of their own, each behind the admin site's login and permissions."""

    noun = "key"
    operations = keys
    related = ("tier",)

    def pages(self) -> list[tuple[str, str, Callable[..., HttpResponse]]]:
        """The pages of all that is issued, and one to find a key."""
        return [("find/", "find", self.find_view), *super().pages()]

    @method_decorator(sensitive_post_parameters("key"))
    def find_view(self, request: HttpRequest) -> HttpResponse:
        """Leads from a pasted key to its page, or says what is wrong with it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FindForm(request.POST or None)
        if form.is_valid():
            if not form.has_format:
                text = "The API refuses this key: no import has stated a format that it has."
                self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(key_url(form.cleaned_data["key"].pk))
        return self.page(request, "find", "Find by pasted key", form=form)
