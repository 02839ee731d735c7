"""Routes of the admin service."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from api_manager.admin import api_health, people, search, second_factor
from api_manager.notices.metrics import metrics as notice_metrics
from config.health import health
from config.metrics import metrics

urlpatterns = [
    # Named, because a view's name is its label in the metrics.
    path("", RedirectView.as_view(pattern_name="admin:index"), name="root"),
    path("health", health, name="health"),
    path("metrics", metrics, name="metrics"),
    path("metrics/notices", notice_metrics, name="notice_metrics"),
    *second_factor.urls(admin.site),
    *people.urls(admin.site),
    *api_health.urls(admin.site),
    *search.urls(admin.site),
    path("admin/", admin.site.urls),  # last, since it takes every path below
]
