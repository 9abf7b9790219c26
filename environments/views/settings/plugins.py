"""Plugins: the ones that are registered, registering one, and creating one in a development environment."""

from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from environments import plugins as rules
from environments.application_tasks import TaskRefused
from environments.models import Environment, EnvironmentPurpose, Plugin
from environments.operations import Operation
from environments.settings_forms import NewPluginForm, PluginForm, add_errors
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest, client_address


@require_safe
def plugins(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_APPLICATIONS)
    return _page(request)


def _page(
    request: AuthenticatedRequest,
    *,
    register_form: PluginForm | None = None,
    create_form: NewPluginForm | None = None,
    status: int = 200,
) -> HttpResponse:
    may_manage = policy.may(request.user, Action.VIEW_INFRASTRUCTURE)
    registered = Environment.objects.registered().in_order().select_related("maintenance_window")
    places = registered.filter(purpose=EnvironmentPurpose.DEVELOPMENT) if may_manage else []
    tasks = list(rules.recent_tasks()) if may_manage else []
    context = {
        "plugins": list(rules.visible(is_manager=may_manage.allowed)),
        "may_manage": may_manage,
        "register_form": register_form or PluginForm(auto_id="register-%s"),
        "create_form": create_form or NewPluginForm(auto_id="create-%s"),
        "places": [(one, policy.may(request.user, Operation.CREATE_PLUGINS, one)) for one in places],
        "tasks": tasks,
        "is_moving": any(task.is_active for task in tasks),
    }
    return render(request, "environments/settings/plugins.html", context, status=status)


@require_POST
def register(request: AuthenticatedRequest) -> HttpResponse:
    policy.require(request.user, Action.VIEW_INFRASTRUCTURE)
    form = PluginForm(request.POST, auto_id="register-%s")
    if form.is_valid():
        try:
            plugin = rules.register(rules.Wanted(**form.cleaned_data), by=request.user.actor(client_address(request)))
            messages.success(request, f"The plugin {plugin} is registered.")
            return redirect("settings:plugins")
        except ValidationError as refusal:
            add_errors(form, refusal)
    return _page(request, register_form=form, status=422)


@require_POST
def create(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    environment = policy.get_environment(request.user, key, Operation.CREATE_PLUGINS)
    form = NewPluginForm(request.POST, auto_id="create-%s")
    status = 422
    if form.is_valid():
        try:
            name = form.cleaned_data["name"]
            rules.request(environment, name, by=request.user.actor(client_address(request)))
            messages.success(request, f"The plugin {name} is being created in {environment}.")
            return redirect("settings:plugins")
        except ValidationError as refusal:
            add_errors(form, refusal)
        except TaskRefused as refusal:
            form.add_error(None, str(refusal))
            status = 409
    return _page(request, create_form=form, status=status)


@require_POST
def unregister(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    policy.require(request.user, Action.VIEW_INFRASTRUCTURE)
    plugin = get_object_or_404(Plugin, key=key)
    rules.unregister(plugin, by=request.user.actor(client_address(request)))
    messages.success(request, f"The plugin {plugin} is unregistered. Its application stays.")
    return redirect("settings:plugins")
