"""Routes of the log."""

from django.urls import path

from audit import views

app_name = "audit"

urlpatterns = [
    path("", views.events, name="events"),
    path("export/", views.export, name="export"),
    path("actors/", views.actors, name="actors"),
    path("<uuid:key>/", views.event, name="event"),
]
