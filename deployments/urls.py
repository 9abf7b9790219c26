"""Routes of deployment plans: one for each intention, named alike."""

from django.urls import path

from deployments.views import again, configuration, customization, plans, progress, review, selection

app_name = "plans"
PLAN = "<uuid:key>"
OPERATION = f"{PLAN}/operations/<uuid:application_key>"

urlpatterns = [
    path("", plans.deployment_plans, name="list"),
    path("new/", plans.create, name="create"),
    path(f"{PLAN}/", plans.plan, name="plan"),
    path(f"{PLAN}/edit/", selection.edit, name="edit"),
    path(f"{PLAN}/change/", selection.change, name="change"),
    path(f"{PLAN}/add/", selection.add, name="add"),
    path(f"{PLAN}/add/dialog/", selection.add_dialog, name="add-dialog"),
    path(f"{PLAN}/remove/", selection.remove, name="remove"),
    path(f"{PLAN}/refresh/", selection.refresh, name="refresh"),
    path(f"{PLAN}/target/", selection.change_target, name="change-target"),
    path(f"{PLAN}/target/dialog/", selection.target_dialog, name="change-target-dialog"),
    path(f"{OPERATION}/", customization.change_operation, name="change-operation"),
    path(f"{OPERATION}/dialog/", customization.operation_dialog, name="change-operation-dialog"),
    path(f"{PLAN}/validate/", selection.validate, name="validate"),
    path(f"{PLAN}/validation/", selection.validation_state, name="validation"),
    path(f"{PLAN}/save/", selection.save, name="save"),
    path(f"{PLAN}/change-log/", review.change_log, name="change-log"),
    path(f"{PLAN}/settings/", configuration.configure, name="configure"),
    path(f"{PLAN}/settings/read/", configuration.read_settings, name="read-settings"),
    path(f"{PLAN}/settings/set/", configuration.set_settings, name="set-settings"),
    path(f"{PLAN}/review/", review.review, name="review"),
    path(f"{PLAN}/review/save/", review.save_notes, name="save-notes"),
    path(f"{PLAN}/start/", review.start, name="start"),
    path(f"{PLAN}/progress/", progress.progress, name="progress"),
    path(f"{PLAN}/progress/live/", progress.live, name="live"),
    path(f"{PLAN}/log/", progress.log, name="log"),
    path(f"{PLAN}/continue/", progress.continue_, name="continue"),
    path(f"{PLAN}/continue/dialog/", progress.continue_dialog, name="continue-dialog"),
    path(f"{PLAN}/abort/", progress.abort, name="abort"),
    path(f"{PLAN}/abort/dialog/", progress.abort_dialog, name="abort-dialog"),
    path(f"{PLAN}/discard/", again.discard, name="discard"),
    path(f"{PLAN}/discard/dialog/", again.discard_dialog, name="discard-dialog"),
    path(f"{PLAN}/relabel/", again.relabel, name="relabel"),
    path(f"{PLAN}/relabel/dialog/", again.relabel_dialog, name="relabel-dialog"),
    path(f"{PLAN}/retry/", again.retry, name="retry"),
    path(f"{PLAN}/reuse/", again.reuse, name="reuse"),
    path(f"{PLAN}/reuse/dialog/", again.reuse_dialog, name="reuse-dialog"),
]
