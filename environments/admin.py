"""Environments in Django admin: support staff look at everything and toggle maintenance mode, of cloud ones too."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from environments import admin_tables, maintenance
from environments.forms import ExpectedEndField, ReasonField
from environments.models import Environment
from lifetime import policy
from lifetime.admin_site import ReadOnlyAdmin
from lifetime.models import User
from lifetime.requests import client_address

MOST_AT_ONCE = 1000
__all__ = ["EnvironmentAdmin", "admin_tables"]  # Django imports this module, and it the tables


class SeenField(forms.CharField):
    """What the person saw when deciding, as `id:mark,id:mark`: the environments, each with its epoch or its window."""

    widget = forms.HiddenInput

    def clean(self, value: Any) -> dict[int, str]:
        pairs = [part.partition(":") for part in (super().clean(value) or "").split(",") if part]
        if not all(number.isascii() and number.isdecimal() and len(number) < 19 and mark for number, _, mark in pairs):
            raise ValidationError("The form was changed on its way. Select the environments again.")
        return {int(number): mark for number, _, mark in pairs}


class ToggleForm(forms.Form):
    """The intermediate page. Its rules are in `environments.maintenance`."""

    reason = ReasonField(
        label="Reason",
        help_text="One line of at most 500 characters; it goes into the audit log.",
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    seen = SeenField()

    def toggle(self, environments: Sequence[Environment], *, by: User, address: str) -> None:
        raise NotImplementedError


class EnableForm(ToggleForm):
    expected_end = ExpectedEndField(label="Expected until", required=False, help_text="People see it; nothing more.")
    field_order = ["reason", "expected_end"]

    @staticmethod
    def mark(environment: Environment) -> str:
        return str(environment.epoch)

    def toggle(self, environments: Sequence[Environment], *, by: User, address: str) -> None:
        maintenance.enable_all(
            environments,
            by=by.actor(address),
            reason=self.cleaned_data["reason"],
            expected_end=self.cleaned_data["expected_end"],
            expected_epochs=_marks(self.cleaned_data["seen"], int),
        )


class DisableForm(ToggleForm):
    @staticmethod
    def mark(environment: Environment) -> str:
        return str(environment.maintenance_window.key) if environment.maintenance_window else "none"

    def toggle(self, environments: Sequence[Environment], *, by: User, address: str) -> None:
        seen = {pk: mark for pk, mark in self.cleaned_data["seen"].items() if mark != "none"}
        maintenance.disable_all(
            environments,
            by=by.actor(address),
            reason=self.cleaned_data["reason"],
            expected_windows=_marks(seen, UUID),
        )


def _marks(seen: Mapping[int, str], kind: Any) -> dict[int, Any]:
    try:
        return {pk: kind(mark) for pk, mark in seen.items()}
    except ValueError:
        raise ValidationError("The form was changed on its way. Select the environments again.") from None


class MaintenanceFilter(admin.SimpleListFilter):
    title = "maintenance mode"
    parameter_name = "maintenance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("enabled", "Enabled"), ("disabled", "Disabled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Environment]) -> QuerySet[Environment]:
        if self.value() in ("enabled", "disabled"):
            return queryset.filter(maintenance_window__isnull=self.value() == "disabled")
        return queryset


@admin.register(Environment)
class EnvironmentAdmin(ReadOnlyAdmin[Environment]):
    list_display = ["name", "purpose", "hosting", "registration", "phase", "synchronization", "version", "address"]
    list_filter = [MaintenanceFilter, "purpose", "hosting", "registration"]
    list_select_related = ["maintenance_window", "sync_state"]
    search_fields = ["name", "address"]
    ordering = ["position", "pk"]
    actions = ["enable_maintenance", "disable_maintenance"]
    fieldsets = [
        (None, {"fields": ["name", "address", "purpose", "hosting", "position", "key"]}),
        ("Maintenance mode", {"fields": ["phase", "maintenance_window", "epoch", "windows"]}),
        (
            "Registration",
            {
                "fields": [
                    *("registration", "registration_message", "created_at", "registered_at", "registered_by"),
                    *("unregistered_at", "unregistered_by"),
                ]
            },
        ),
        ("Synchronization", {"fields": ["synchronization", "sync_interval", "runs", "contacts"]}),
        (
            "Settings",
            {
                "fields": [
                    *("lifetime_address", "two_stage_deployments", "mobile_apps_service", "parallel_deployments"),
                    *("parallel_deployment_limit", "security"),
                ]
            },
        ),
        (
            "Facts",
            {
                "fields": [
                    *("version", "application_server", "application_server_type", "database_provider"),
                    "number_of_front_ends",
                ]
            },
        ),
    ]
    readonly_fields = ["key", "phase", "synchronization", "windows", "runs", "contacts"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Environment]:
        return super().get_queryset(request).defer("sealed_token")

    @admin.display(description="maintenance mode", ordering="maintenance_window__enabled_at", empty_value="off")
    def phase(self, environment: Environment) -> str | None:
        window = environment.maintenance_window
        if window is None:
            return None
        return f"{window.get_status_display()} since {window.enabled_at:%Y-%m-%d %H:%M} UTC, {window.enabled_by}"

    @admin.display(description="synchronization")
    def synchronization(self, environment: Environment) -> str:
        state = getattr(environment, "sync_state", None)
        if state is None:
            return "never"
        if state.unreachable_since:
            return f"Unreachable since {state.unreachable_since:%Y-%m-%d %H:%M} UTC"
        if state.failures:
            return f"Failed {state.failures} times: {state.message}"
        return f"{state.synchronized_at:%Y-%m-%d %H:%M} UTC" if state.synchronized_at else "not yet"

    @admin.display(description="windows")
    def windows(self, environment: Environment) -> SafeString:
        return _rows_of("maintenancewindow", environment)

    @admin.display(description="synchronizations")
    def runs(self, environment: Environment) -> SafeString:
        return _rows_of("syncrun", environment)

    @admin.display(description="contacts")
    def contacts(self, environment: Environment) -> SafeString:
        return _rows_of("contact", environment)

    # Toggling: an action leads to a page of its own, which asks the reason and shows what would be aborted.

    def has_toggle_permission(self, request: HttpRequest) -> bool:
        return bool(policy.may_toggle_as_support(request.user))

    @admin.action(description="Enable maintenance mode…", permissions=["toggle"])
    def enable_maintenance(self, request: HttpRequest, queryset: QuerySet[Environment]) -> HttpResponse | None:
        return self._ask(request, queryset, "enable")

    @admin.action(description="Disable maintenance mode…", permissions=["toggle"])
    def disable_maintenance(self, request: HttpRequest, queryset: QuerySet[Environment]) -> HttpResponse | None:
        return self._ask(request, queryset, "disable")

    def _ask(self, request: HttpRequest, queryset: QuerySet[Environment], direction: str) -> HttpResponse | None:
        ids = list(queryset.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            message = f"Select at most {MOST_AT_ONCE:,} at once here; manage.py maintenance takes any number."
            self.message_user(request, message, messages.ERROR)
            return None
        query = urlencode({"ids": ",".join(map(str, ids))})
        return HttpResponseRedirect(f"{reverse(f'admin:environments_environment_{direction}')}?{query}")

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"maintenance/{direction}/",
                self.admin_site.admin_view(view),
                name=f"environments_environment_{direction}",
            )
            for direction, view in (("enable", self.enable_view), ("disable", self.disable_view))
        ]
        return [*own, *super().get_urls()]

    def enable_view(self, request: HttpRequest) -> HttpResponse:
        return self._toggle_view(request, EnableForm, "enable")

    def disable_view(self, request: HttpRequest) -> HttpResponse:
        return self._toggle_view(request, DisableForm, "disable")

    def _toggle_view(
        self, request: HttpRequest, form_class: type[EnableForm] | type[DisableForm], direction: str
    ) -> HttpResponse:
        user = request.user
        decision = policy.may_toggle_as_support(user)
        if not decision or not isinstance(user, User):
            raise PermissionDenied(decision.reason)
        form: EnableForm | DisableForm = form_class(request.POST if request.method == "POST" else None)
        environments = _named(request, form)
        if not environments:
            self.message_user(request, "Select at least one environment.", messages.ERROR)
            return HttpResponseRedirect(reverse("admin:environments_environment_changelist"))
        if form.is_valid():
            try:
                if missing := len(form.cleaned_data["seen"]) - len(environments):
                    raise maintenance.NotRegistered(f"{missing} of them are gone. Select the environments again.")
                form.toggle(environments, by=user, address=client_address(request))
                names = ", ".join(environment.name for environment in environments)
                self.message_user(request, f"Maintenance mode is {direction}d: {names}.", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:environments_environment_changelist"))
            except maintenance.MaintenanceRefused as refusal:
                self.message_user(request, f"Nothing was toggled. {refusal}", messages.ERROR)
                environments = _by_id([environment.pk for environment in environments])
            except ValidationError as error:
                form.add_error(None, error)
        seen = ",".join(f"{environment.pk}:{form.mark(environment)}" for environment in environments)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{direction.capitalize()} maintenance mode",
            "opts": self.opts,
            "direction": direction,
            "form": form,
            "seen": seen,
            "preview": maintenance.preview(environments),
        }
        template = "admin/environments/environment/toggle_maintenance.html"
        return TemplateResponse(request, template, context, status=422 if form.is_bound else 200)


def _rows_of(model: str, environment: Environment) -> SafeString:
    address = reverse(f"admin:environments_{model}_changelist")
    return format_html('<a href="{}?environment__id__exact={}">Show them</a>', address, environment.pk)


def _named(request: HttpRequest, form: forms.Form) -> list[Environment]:
    """The environments that the page is about: of the query, or when it is sent, of what was shown."""
    if form.is_bound:
        text = ",".join(part.partition(":")[0] for part in request.POST.get("seen", "").split(","))
    else:
        text = request.GET.get("ids", "")
    ids = [int(part) for part in text.split(",") if part.isascii() and part.isdecimal() and len(part) < 19]
    return _by_id(ids[:MOST_AT_ONCE])


def _by_id(ids: Sequence[int]) -> list[Environment]:
    rows = Environment.objects.select_related("maintenance_window").defer("sealed_token", "security")
    return list(rows.filter(pk__in=ids).in_order())
