"""Routes of the admin service."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from config.health import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("health", health),
    path("admin/", admin.site.urls),
]
