"""The search of the theme's sidebar, where an address may name a page of it that is none."""

from django.contrib.admin import AdminSite
from django.core.exceptions import BadRequest
from django.core.paginator import InvalidPage
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path


def urls(site: AdminSite) -> list[URLPattern]:
    """Where the theme has it, too; ours comes first."""
    return [path("admin/search/", site.admin_view(search), {"site": site}, name="search")]


def search(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The theme's answer, or 400."""
    try:
        found: HttpResponse = site.search(request)  # type: ignore[attr-defined]  # the theme's own
    except (InvalidPage, ValueError):
        raise BadRequest("page: expected the number of a page that there is") from None
    return found
