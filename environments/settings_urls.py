"""Routes of settings of the infrastructure as a whole: one for each intention, named alike."""

from django.urls import path

from environments.views.settings import authentication, blocked_addresses, databases, plugins, previews

app_name = "settings"
IN = "infrastructure/database-connections/<uuid:key>"

urlpatterns = [
    path("infrastructure/previews/", previews.previews, name="previews"),
    path("infrastructure/blocked-addresses/", blocked_addresses.choose, name="blocked-addresses"),
    path("infrastructure/blocked-addresses/<uuid:key>/", blocked_addresses.blocked, name="blocked"),
    path("infrastructure/blocked-addresses/<uuid:key>/read/", blocked_addresses.read, name="read-blocked"),
    path(
        "infrastructure/blocked-addresses/<uuid:key>/<uuid:block_key>/unblock/",
        blocked_addresses.unblock,
        name="unblock",
    ),
    path("infrastructure/database-connections/", databases.choose, name="database-connections"),
    path(f"{IN}/", databases.databases, name="databases"),
    path(f"{IN}/state/", databases.state, name="databases-state"),
    path(f"{IN}/read/", databases.read, name="read-databases"),
    path(f"{IN}/add/", databases.add, name="add-database"),
    path(f"{IN}/test/", databases.test_details, name="test-database-details"),
    path(f"{IN}/tests/<uuid:task_key>/", databases.test_state, name="database-test-state"),
    path(f"{IN}/<uuid:connection_key>/", databases.edit, name="edit-database"),
    path(f"{IN}/<uuid:connection_key>/test/", databases.test_saved, name="test-database"),
    path(f"{IN}/<uuid:connection_key>/delete/", databases.delete, name="delete-database"),
    path(f"{IN}/<uuid:connection_key>/delete/dialog/", databases.delete_dialog, name="delete-database-dialog"),
    path("authentication/", authentication.providers, name="authentication"),
    path("authentication/new/<slug:mode>/", authentication.create, name="create-provider"),
    path("authentication/arrivals/", authentication.arrivals, name="authentication-arrivals"),
    path("authentication/propagate/", authentication.propagate, name="propagate-authentication"),
    path("authentication/<uuid:key>/", authentication.provider, name="provider"),
    path("authentication/<uuid:key>/activate/", authentication.activate, name="activate-provider"),
    path("authentication/<uuid:key>/activate/dialog/", authentication.activate_dialog, name="activate-provider-dialog"),
    path("authentication/<uuid:key>/deactivate/", authentication.deactivate, name="deactivate-provider"),
    path(
        "authentication/<uuid:key>/deactivate/dialog/",
        authentication.deactivate_dialog,
        name="deactivate-provider-dialog",
    ),
    path("authentication/<uuid:key>/test/", authentication.test, name="test-provider"),
    path("authentication/<uuid:key>/test/state/", authentication.test_state, name="provider-test-state"),
    path("authentication/<uuid:key>/delete/", authentication.delete, name="delete-provider"),
    path("plugins/", plugins.plugins, name="plugins"),
    path("plugins/register/", plugins.register, name="register-plugin"),
    path("plugins/<uuid:key>/unregister/", plugins.unregister, name="unregister-plugin"),
    path("plugins/create/<uuid:key>/", plugins.create, name="create-plugin"),
]
