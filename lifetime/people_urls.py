"""Routes about people; `lifetime.urls` includes them at the root."""

from django.urls import path

from lifetime.views import application_roles, health, openid, people, roles, service_accounts, teams, users

app_name = "lifetime"

urlpatterns = [
    path("", people.home, name="home"),
    path("health/", health.web, name="health"),
    path("health/workers/", health.workers, name="health-of-workers"),
    path("login/", people.log_in, name="login"),
    path("login/openid/", openid.Begin.as_view(), name="openid"),
    path("login/openid/callback/", openid.Callback.as_view(), name="openid-callback"),
    path("logout/", people.log_out, name="logout"),
    path("settings/", people.settings, name="settings"),
    path("settings/theme/", people.set_theme, name="set-theme"),
    path("settings/password/", people.change_password, name="change-password"),
    path("users/", users.users, name="users"),
    path("users/new/", users.create, name="create-user"),
    path("users/suggestions/", users.suggestions, name="people"),
    path("users/<uuid:key>/", users.user, name="user"),
    path("users/<uuid:key>/unblock/", users.unblock, name="unblock-user"),
    path("roles/", roles.all_roles, name="roles"),
    path("roles/new/", roles.create, name="create-role"),
    path("roles/<uuid:key>/", roles.role, name="role"),
    path("roles/<uuid:key>/delete/", roles.delete, name="delete-role"),
    path("roles/<uuid:key>/delete/dialog/", roles.delete_dialog, name="delete-role-dialog"),
    path("teams/", teams.all_teams, name="teams"),
    path("teams/new/", teams.create, name="create-team"),
    path("teams/<uuid:key>/", teams.team, name="team"),
    path("teams/<uuid:key>/delete/", teams.delete, name="delete-team"),
    path("teams/<uuid:key>/delete/dialog/", teams.delete_dialog, name="delete-team-dialog"),
    path("teams/<uuid:key>/members/", teams.set_member, name="set-team-member"),
    path("teams/<uuid:key>/members/<uuid:user_key>/remove/", teams.remove_member, name="remove-team-member"),
    path("teams/<uuid:key>/applications/", teams.add_applications, name="add-team-applications"),
    path(
        "teams/<uuid:key>/applications/<uuid:application_key>/remove/",
        teams.remove_application,
        name="remove-team-application",
    ),
    path("service-accounts/", service_accounts.all_accounts, name="service-accounts"),
    path("service-accounts/new/", service_accounts.create, name="create-service-account"),
    path("service-accounts/<uuid:key>/", service_accounts.account, name="service-account"),
    path("service-accounts/<uuid:key>/tokens/", service_accounts.issue_token, name="issue-token"),
    path("service-accounts/<uuid:key>/tokens/<int:token>/revoke/", service_accounts.revoke_token, name="revoke-token"),
    path("application-roles/<uuid:key>/", application_roles.application_roles, name="application-roles"),
    path("application-roles/<uuid:key>/set/", application_roles.set_role, name="set-application-role"),
    path(
        "application-roles/<uuid:key>/<uuid:user_key>/remove/",
        application_roles.remove_role,
        name="remove-application-role",
    ),
]
