from django.contrib import admin
from django.urls import include, path

from environments.views import events

handler403 = "lifetime.views.errors.forbidden"

urlpatterns = [
    path("", include("lifetime.people_urls")),
    path("applications/", include("environments.application_urls")),
    path("", include("environments.settings_urls")),
    path("infrastructure/", include("environments.urls")),
    path("environments/<uuid:key>/events/", events.receive, name="receive-event"),
    path("audit/", include("audit.urls")),
    path("admin/", admin.site.urls),
]
