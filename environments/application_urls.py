"""Routes of the applications: one for each intention, named alike."""

from django.urls import path

from environments.views.applications import (
    blocking,
    creation,
    details,
    filters,
    icons,
    leaving,
    logs,
    matrix,
    security,
    settings,
    tagging,
    versions,
)

app_name = "applications"
IN = "<uuid:key>/in/<uuid:environment_key>"
VERSION = "<uuid:key>/versions/<uuid:version_key>"

urlpatterns = [
    path("", matrix.applications, name="list"),
    path("matrix/", matrix.rows, name="rows"),
    path("heads/", matrix.heads, name="heads"),
    path("filters/", filters.filters, name="filters"),
    path("filters/create/", filters.create, name="create-filter"),
    path("filters/<uuid:key>/", filters.edit, name="edit-filter"),
    path("filters/<uuid:key>/delete/", filters.delete, name="delete-filter"),
    path("create/", creation.choose_environment, name="create"),
    path("create/<uuid:environment_key>/", creation.create, name="create-in"),
    path("create/<uuid:environment_key>/templates/", creation.read_templates, name="read-templates"),
    path("<uuid:key>/", details.details, name="details"),
    path("<uuid:key>/icon/<str:digest>/", icons.icon, name="icon"),
    path("<uuid:key>/places/", details.places, name="places"),
    path("<uuid:key>/versions/", versions.versions, name="versions"),
    path("<uuid:key>/versions/rows/", versions.version_rows, name="version-rows"),
    path(f"{VERSION}/remove/", versions.remove_version, name="remove-version"),
    path(f"{VERSION}/remove/dialog/", versions.remove_version_dialog, name="remove-version-dialog"),
    path(f"{IN}/tag/", tagging.tag, name="tag"),
    path(f"{IN}/tag/dialog/", tagging.tag_dialog, name="tag-dialog"),
    path(f"{IN}/versions/read/", details.read_versions, name="read-versions"),
    path(f"{IN}/hotfix/solve/", details.solve_hotfix, name="solve-hotfix"),
    path(f"{IN}/definition/", details.synchronize_definition, name="synchronize-definition"),
    path(f"{IN}/settings/", settings.settings, name="settings"),
    path(f"{IN}/settings/read/", settings.read_settings, name="read-settings"),
    path(f"{IN}/settings/change/", settings.change_settings, name="change-settings"),
    path(f"{IN}/security/", security.security, name="security"),
    path(f"{IN}/security/read/", security.read_security, name="read-security"),
    path(f"{IN}/security/change/", security.change_security, name="change-security"),
    path(f"{IN}/logs/", logs.logs, name="logs"),
    path(f"{IN}/logs/lines/", logs.lines, name="log-lines"),
    path(f"{IN}/logs/read/", logs.read_logs, name="read-logs"),
    path(f"{IN}/block/", blocking.block, name="block"),
    path(f"{IN}/block/dialog/", blocking.block_dialog, name="block-dialog"),
    path(f"{IN}/unblock/", blocking.unblock, name="unblock"),
    path(f"{IN}/open/", leaving.open_in_browser, name="open-in-browser"),
    path(f"{IN}/test/dialog/", leaving.test_dialog, name="test-dialog"),
    path(f"{IN}/test/code.svg", leaving.qr_code, name="qr-code"),
    path(f"{IN}/configure/", leaving.configure, name="configure"),
    path(f"{IN}/service-center-logs/", leaving.service_center_logs, name="service-center-logs"),
    path(f"{IN}/service-studio/", leaving.open_in_service_studio, name="open-in-service-studio"),
]
