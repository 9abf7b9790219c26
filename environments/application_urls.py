"""Routes of the applications: one for each intention, named alike."""

from django.urls import path

from environments.views.applications import filters, matrix

app_name = "applications"

urlpatterns = [
    path("", matrix.applications, name="list"),
    path("matrix/", matrix.rows, name="rows"),
    path("heads/", matrix.heads, name="heads"),
    path("filters/", filters.filters, name="filters"),
    path("filters/create/", filters.create, name="create-filter"),
    path("filters/<uuid:key>/", filters.edit, name="edit-filter"),
    path("filters/<uuid:key>/delete/", filters.delete, name="delete-filter"),
]
