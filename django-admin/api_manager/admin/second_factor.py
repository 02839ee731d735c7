"""The pages of one's own second factor: set up, shown at login, backup codes anew, taken away.

The last two ask for a code: a session that somebody has got hold of must not become the second factor.
"""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.timezone import localtime
from django.views.decorators.debug import sensitive_post_parameters
from django_otp import login as remember_device

from api_manager import logins, second_factor
from api_manager.audit import Actor
from api_manager.forms import CodeForm
from api_manager.second_factor import Refusal


def urls(site: AdminSite) -> list[URLPattern]:
    """The pages, each behind the admin site's login, and never kept by a browser."""
    pages = (
        ("", "second_factor", overview),
        ("code/", "second_factor_code", code),
        ("backup-codes/", "second_factor_backup_codes", backup_codes),
        ("remove/", "second_factor_remove", remove),
    )
    return [
        path(f"admin/second-factor/{route}", site.admin_view(view), {"site": site}, name=name)
        for route, name, view in pages
    ]


@sensitive_post_parameters("code")
def overview(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Sets the second factor up; for who has one, what can be done with it."""
    user: Any = request.user
    if second_factor.is_enrolled(user):
        left = second_factor.backup_codes_left(user)
        return _page(request, site, "overview", "Second factor", codes_left=left)
    form = CodeForm(request.POST or None)
    if form.is_valid():
        enrolled = second_factor.enrol(user, form.cleaned_data["code"], Actor.of_request(request))
        if not isinstance(enrolled, Refusal):
            device, codes = enrolled
            _let_on(request, device)
            return _codes(request, site, "Your second factor is set up", codes)
        _explain(form, enrolled)
    device = second_factor.offer(user)
    offered = {"qr": second_factor.qr(device), "secret": second_factor.secret(device)}
    return _page(request, site, "enrol", "Set up a second factor", form=form, **offered)


@sensitive_post_parameters("code")
def code(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Asks for a code: the second step of a login."""
    user: Any = request.user
    if user.is_verified() or not second_factor.is_enrolled(user):
        return HttpResponseRedirect(_wanted(request))
    form = CodeForm(request.POST or None)
    device = _shown(request, form)
    if device is not None:
        _let_on(request, device)
        logins.accepted(request, user, device.name.lower())
        return HttpResponseRedirect(_wanted(request))
    return _page(request, site, "code", "Second factor", form=form)


@sensitive_post_parameters("code")
def backup_codes(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """New backup codes, for a code."""
    user: Any = request.user
    if not second_factor.is_enrolled(user):
        return HttpResponseRedirect(reverse("second_factor"))
    form = CodeForm(request.POST or None)
    if _shown(request, form) is not None:
        codes = second_factor.renew_backup_codes(user, Actor.of_request(request))
        return _codes(request, site, "Your new backup codes", codes)
    return _page(request, site, "renew", "New backup codes", form=form)


@sensitive_post_parameters("code")
def remove(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Takes one's own second factor away, for a last code of it."""
    user: Any = request.user
    if not second_factor.is_enrolled(user):
        return HttpResponseRedirect(reverse("second_factor"))
    form = CodeForm(request.POST or None)
    if _shown(request, form) is not None:
        second_factor.remove(user, Actor.of_request(request))
        messages.success(request, "Your second factor is removed.")
        return HttpResponseRedirect(reverse("second_factor"))
    return _page(request, site, "remove", "Remove your second factor", form=form)


def _shown(request: HttpRequest, form: CodeForm) -> Any:
    """The device that a right code came from; None where none came, or the form says what is wrong."""
    if not form.is_valid():
        return None
    user: Any = request.user
    device = second_factor.verify(user, form.cleaned_data["code"])
    if not isinstance(device, Refusal):
        return device
    logins.code_refused(request, user)
    _explain(form, device)
    return None


def _let_on(request: HttpRequest, device: Any) -> None:
    """From here on the session has shown both factors; it gets a new cookie, as at any login."""
    request.session.cycle_key()
    remember_device(request, device)


def _explain(form: CodeForm, refusal: Refusal) -> None:
    if refusal.retry_at is None:
        form.add_error("code", "This code is wrong, or was used already. Wait for the next one.")
    else:
        at = localtime(refusal.retry_at)
        form.add_error(
            "code", f"Too many wrong codes. Try again at {at:%H:%M:%S} UTC; until then none is looked at."
        )


def _wanted(request: HttpRequest) -> str:
    """The page he asked for in the first place, if it is one of this site."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return wanted if is_ours else reverse("admin:index")


def _codes(request: HttpRequest, site: AdminSite, title: str, codes: list[str]) -> TemplateResponse:
    return _page(request, site, "codes", title, codes=codes, wanted=_wanted(request))


def _page(request: HttpRequest, site: AdminSite, name: str, title: str, **context: Any) -> TemplateResponse:
    return TemplateResponse(
        request,
        f"api_manager/second_factor/{name}.html",
        {**site.each_context(request), "title": title, "is_required": settings.REQUIRE_2FA, **context},
    )
