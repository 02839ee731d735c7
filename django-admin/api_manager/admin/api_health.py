"""A part of the overview: how the API finds itself, and how many records wait in Redis.

It is fetched by itself, so that the overview never waits for the API.
"""

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache

from api_manager import api_client, key_page


def urls(site: AdminSite) -> list[URLPattern]:
    """The part's address, behind the admin site's login."""
    return [path("admin/api-health/", site.admin_view(never_cache(api_health)), name="api_health")]


def api_health(request: HttpRequest) -> HttpResponse:
    """The API's health now, or why it is not known; for whoever sees the pipeline."""
    if not key_page.may_see(request, "requestlog"):
        raise PermissionDenied
    answer = api_client.health()
    context = {"health": answer} if isinstance(answer, api_client.Health) else {"reason": answer.reason}
    return TemplateResponse(request, "api_manager/overview/api_health.html", context)
