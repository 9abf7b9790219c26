"""Environment Security: the security settings of one environment."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from audit import paging as audit_paging
from environments import deliveries, gate
from environments import security as rules
from environments.models import Environment
from environments.operations import Operation
from environments.settings_forms import SecurityForm, add_errors
from lifetime import policy
from lifetime.policy import Action, Decision
from lifetime.requests import AuthenticatedRequest, client_address


@require_http_methods(["GET", "HEAD", "POST"])
def security(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Action.VIEW_INFRASTRUCTURE)
    if request.method == "POST":
        return _save(request, environment)
    decision = policy.may(request.user, Operation.CHANGE_SECURITY_SETTINGS, environment)
    form = SecurityForm(environment, is_read_only=not decision)
    return _page(request, environment, form, decision)


def _save(request: AuthenticatedRequest, environment: Environment) -> HttpResponse:
    form = SecurityForm(environment, request.POST)
    status = 422
    try:
        policy.require(request.user, Operation.CHANGE_SECURITY_SETTINGS, environment)
        if form.is_valid():
            changed = rules.change(environment, form.changes, by=request.user.actor(client_address(request)))
            if changed:
                messages.success(request, f"The security settings of {environment} are saved and will be delivered.")
            else:
                messages.info(request, "Nothing was changed.")
            return redirect("environments:security", environment.key)
    except ValidationError as refusal:
        add_errors(form, refusal)
    except (policy.InMaintenance, gate.Refused) as refusal:  # nothing that was typed is lost
        form.add_error(None, str(refusal))
        status = 409
    environment = policy.get_environment(request.user, environment.key, Action.VIEW_INFRASTRUCTURE)
    return _page(request, environment, form, policy.ALLOWED, status=status)


def _page(
    request: AuthenticatedRequest,
    environment: Environment,
    form: SecurityForm,
    decision: Decision,
    *,
    status: int = 200,
) -> HttpResponse:
    may_view_log = policy.may(request.user, Action.VIEW_AUDIT_LOG)
    context = {
        "environment": environment,
        "form": form,
        "may_change": decision,
        "after": rules.after_delivery(environment),
        "pending": [one for one in deliveries.pending_of(environment) if one.part == "security"],
        "history": audit_paging.history(environment.audit_object) if may_view_log else None,
    }
    return render(request, "environments/settings/security.html", context, status=status)
