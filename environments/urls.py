"""Routes of the infrastructure: one for each intention, named alike."""

from django.urls import path

from environments.views import environment, infrastructure, ledger, maintenance, registration, timeline
from environments.views.settings import pending, security

app_name = "environments"

urlpatterns = [
    path("", infrastructure.infrastructure, name="list"),
    path("cards/", infrastructure.cards, name="cards"),
    path("register/", registration.register, name="register"),
    path("register/<uuid:key>/", registration.proposal, name="proposal"),
    path("register/<uuid:key>/state/", registration.proposal_state, name="proposal-state"),
    path("register/<uuid:key>/check/", registration.check_again, name="check-again"),
    path("register/<uuid:key>/roles/", registration.proposed_roles, name="proposed-roles"),
    path("register/<uuid:key>/users/", registration.proposed_users, name="proposed-users"),
    path("register/<uuid:key>/confirm/", registration.confirm_registration, name="confirm-registration"),
    path("register/<uuid:key>/discard/", registration.discard, name="discard"),
    path("<uuid:key>/", environment.edit, name="edit"),
    path("<uuid:key>/live/", environment.live, name="live"),
    path("<uuid:key>/histories/", environment.histories, name="histories"),
    path("<uuid:key>/synchronize/", infrastructure.synchronize, name="synchronize"),
    path("<uuid:key>/move/", infrastructure.move, name="move"),
    path("<uuid:key>/unregister/", environment.unregister, name="unregister"),
    path("<uuid:key>/unregister/dialog/", environment.unregister_dialog, name="unregister-dialog"),
    path("<uuid:key>/maintenance/enable/", maintenance.enable, name="enable-maintenance"),
    path("<uuid:key>/maintenance/enable/dialog/", maintenance.enable_dialog, name="enable-maintenance-dialog"),
    path("<uuid:key>/maintenance/enable/preview/", maintenance.preview, name="enable-maintenance-preview"),
    path("<uuid:key>/maintenance/disable/", maintenance.disable, name="disable-maintenance"),
    path("<uuid:key>/maintenance/disable/dialog/", maintenance.disable_dialog, name="disable-maintenance-dialog"),
    path("<uuid:key>/windows/", maintenance.windows, name="windows"),
    path("<uuid:key>/windows/<uuid:window_key>/", maintenance.window, name="window"),
    path("<uuid:key>/contacts/", ledger.contacts, name="contacts"),
    path("<uuid:key>/syncs/", ledger.syncs, name="syncs"),
    path("<uuid:key>/timeline/", timeline.timeline, name="timeline"),
    path("<uuid:key>/pending/", pending.pending, name="pending"),
    path("<uuid:key>/security/", security.security, name="security"),
]
