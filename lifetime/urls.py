from django.contrib import admin
from django.urls import include, path, re_path

from environments.views import events
from lifetime.api import entry, reference

handler403 = "lifetime.views.errors.forbidden"
handler500 = "lifetime.views.errors.failed"

urlpatterns = [
    path("", include("lifetime.people_urls")),
    path("applications/", include("environments.application_urls")),
    path("plans/", include("deployments.urls")),
    path("", include("environments.settings_urls")),
    path("infrastructure/", include("environments.urls")),
    path("environments/<uuid:key>/events/", events.receive, name="receive-event"),
    re_path("^(?:lifetimeapi|PropertiesAPI)(?:/|$)", entry.serve, name="rest-api"),
    path("api/", reference.page, name="rest-api-reference"),
    path("audit/", include("audit.urls")),
    path("admin/", admin.site.urls),
]
