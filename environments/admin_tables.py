"""What environments have and did, in Django admin: support staff look, and the console writes."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from environments import quiet
from environments.models import (
    Application,
    ApplicationBlock,
    ApplicationIcon,
    ApplicationSecurity,
    ApplicationSettings,
    ApplicationStatus,
    ApplicationTask,
    ApplicationVersion,
    AuthenticationProvider,
    Contact,
    Environment,
    EnvironmentEvent,
    EnvironmentFilter,
    MaintenanceWindow,
    Module,
    ModuleStatus,
    ModuleVersion,
    Plugin,
    ProviderTest,
    RefusedOperation,
    RegistrationDraft,
    SyncRun,
    SyncState,
    TechnicalPreview,
)
from environments.models.application import InEnvironment
from lifetime.admin_site import ReadOnlyAdmin


class OfOneEnvironment(admin.SimpleListFilter):
    """Rows of the environment that another page links to. It offers no list: there may be a thousand of them."""

    title = "environment"
    parameter_name = "environment__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        number = request.GET.get(self.parameter_name, "")
        if not (number.isascii() and number.isdecimal() and len(number) < 19):
            return []
        return [(str(one.pk), one.name) for one in Environment.objects.filter(pk=int(number)).only("pk", "name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        number = self.value() or ""
        if number.isascii() and number.isdecimal() and len(number) < 19:
            return queryset.filter(environment=int(number))
        return queryset


class RowsOfEnvironments(ReadOnlyAdmin[Any]):
    """Tables that grow for ever: newest first, and no look at all of it."""

    list_select_related = ["environment"]
    ordering = ["-pk"]
    actions = None


@admin.register(MaintenanceWindow)
class MaintenanceWindowAdmin(RowsOfEnvironments):
    list_display = ["enabled_at", "environment", "status", "enabled_by", "reason", "quiet_at", "disabled_at"]
    list_filter = ["status", OfOneEnvironment]
    search_fields = ["reason", "enabled_by"]
    ordering = ["-enabled_at", "-pk"]
    readonly_fields = ["key", "audit_key", "certificate", "refused"]

    @admin.display(description="certificate")
    def certificate(self, window: MaintenanceWindow) -> str:
        ((_, found),) = quiet.certificates([window])
        return (
            f"Quiet: {found.time_to_quiet_text}. {found.cut_short} contacts cut short, {found.lost} lost, "
            f"{found.open} open, {found.breaches} inside the quiet."
        )

    @admin.display(description="refused operations")
    def refused(self, window: MaintenanceWindow) -> str:
        return "; ".join(map(str, window.refused_operations.order_by("operation"))) or "none"


@admin.register(RefusedOperation)
class RefusedOperationAdmin(RowsOfEnvironments):
    list_display = ["window", "operation", "count", "last_at", "last_by"]
    list_filter = ["operation"]
    list_select_related = ["window__environment"]


@admin.register(Contact)
class ContactAdmin(RowsOfEnvironments):
    list_display = [
        *("id", "environment", "purpose", "outcome", "step", "worker", "pid", "opened_at", "closed_at", "expires_at"),
        *("calls", "bytes_sent", "bytes_received"),
    ]
    list_filter = ["outcome", "purpose", OfOneEnvironment]


@admin.register(SyncRun)
class SyncRunAdmin(RowsOfEnvironments):
    list_display = [
        *(
            "id",
            "environment",
            "status",
            "trigger",
            "is_full",
            "requested_at",
            "requested_by",
            "started_at",
            "ended_at",
        ),
        "message",
    ]
    list_filter = ["status", "trigger", OfOneEnvironment]


@admin.register(SyncState)
class SyncStateAdmin(RowsOfEnvironments):
    list_display = ["environment", "due_at", "synchronized_at", "failures", "message", "unreachable_since"]
    list_filter = [OfOneEnvironment]
    search_fields = ["environment__name"]
    ordering = ["pk"]


@admin.register(TechnicalPreview)
class TechnicalPreviewAdmin(RowsOfEnvironments):
    list_display = ["name", "environment", "is_available", "is_enabled"]
    list_filter = ["is_enabled", OfOneEnvironment]
    search_fields = ["name"]


@admin.register(Application)
class ApplicationAdmin(ReadOnlyAdmin[Application]):
    list_display = ["name", "kind", "is_system", "url_path", "changed_at"]
    list_filter = ["kind", "is_system"]
    search_fields = ["name"]
    ordering = ["-pk"]
    actions = None


@admin.register(Module)
class ModuleAdmin(ReadOnlyAdmin[Module]):
    list_display = ["name", "kind", "application", "changed_at"]
    list_select_related = ["application"]
    search_fields = ["name"]
    ordering = ["-pk"]
    actions = None


class StatusAdmin(RowsOfEnvironments):
    list_filter = ["consistency", OfOneEnvironment]

    def get_queryset(self, request: HttpRequest) -> QuerySet[InEnvironment]:
        return super().get_queryset(request).defer("consistency_message")


@admin.register(ApplicationStatus)
class ApplicationStatusAdmin(StatusAdmin):
    list_display = ["application", "environment", "version", "is_modified", "consistency", "changed_at", "changed_by"]
    list_select_related = ["application", "environment"]


@admin.register(ModuleStatus)
class ModuleStatusAdmin(StatusAdmin):
    list_display = ["module", "environment", "is_modified", "consistency", "changed_at", "changed_by"]
    list_select_related = ["module", "environment"]


class RowsOfApplications(ReadOnlyAdmin[Any]):
    """Tables that grow with the applications: newest first."""

    ordering = ["-pk"]
    actions = None


@admin.register(ApplicationVersion)
class ApplicationVersionAdmin(RowsOfApplications):
    list_display = ["application", "version", "created_at", "created_by", "created_in"]
    list_display_links = ["application", "version"]
    list_select_related = ["application", "created_in"]
    search_fields = ["application__name", "version"]


@admin.register(ModuleVersion)
class ModuleVersionAdmin(RowsOfApplications):
    list_display = ["name", "application_version", "created_at", "created_by"]
    list_select_related = ["application_version__application"]
    search_fields = ["name"]


@admin.register(ApplicationIcon)
class ApplicationIconAdmin(RowsOfApplications):
    list_display = ["application_key", "media_type", "digest", "created_at"]
    search_fields = ["application_key"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApplicationIcon]:
        return super().get_queryset(request).defer("content")


@admin.register(ApplicationBlock)
class ApplicationBlockAdmin(RowsOfEnvironments):
    list_display = ["application", "environment", "blocked_at", "blocked_by", "reason", "unblocked_at", "unblocked_by"]
    list_filter = [("unblocked_at", admin.EmptyFieldListFilter), OfOneEnvironment]
    list_select_related = ["application", "environment"]
    search_fields = ["application__name", "reason"]
    readonly_fields = ["key"]


@admin.register(ApplicationSettings)
class ApplicationSettingsAdmin(RowsOfEnvironments):
    """When they were read, not what they are: the console shows that to whoever may configure the application."""

    list_display = ["application", "environment", "digest", "read_at"]
    list_filter = [OfOneEnvironment]
    list_select_related = ["application", "environment"]
    search_fields = ["application__name"]
    fields = ["application", "environment", "digest", "read_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApplicationSettings]:
        return super().get_queryset(request).defer("document")


@admin.register(ApplicationSecurity)
class ApplicationSecurityAdmin(RowsOfEnvironments):
    list_display = ["application", "environment", "digest", "read_at"]
    list_filter = [OfOneEnvironment]
    list_select_related = ["application", "environment"]
    search_fields = ["application__name"]


@admin.register(ApplicationTask)
class ApplicationTaskAdmin(RowsOfEnvironments):
    """What was asked for and how it ended: neither its secrets, nor its values, nor what was read."""

    list_display = ["id", "kind", "environment", "application", "status", "requested_at", "requested_by", "message"]
    list_filter = ["kind", "status", OfOneEnvironment]
    list_select_related = ["environment", "application"]
    search_fields = ["application__name", "requested_by"]
    fields = [
        *("key", "kind", "environment", "application", "status", "requested_at", "requested_by"),
        *("started_at", "ended_at", "message"),
    ]
    readonly_fields = ["key"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApplicationTask]:
        return super().get_queryset(request).defer("sealed_secrets", "parameters", "result")


@admin.register(EnvironmentEvent)
class EnvironmentEventAdmin(RowsOfEnvironments):
    list_display = ["received_at", "environment", "type", "event_id"]
    list_filter = ["type", OfOneEnvironment]


@admin.register(EnvironmentFilter)
class EnvironmentFilterAdmin(ReadOnlyAdmin[EnvironmentFilter]):
    list_display = ["name", "user", "is_default"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "user__name"]
    ordering = ["name", "pk"]
    actions = None


@admin.register(Plugin)
class PluginAdmin(ReadOnlyAdmin[Plugin]):
    list_display = ["name", "entry_point", "developer", "for_managers_only", "registered_at", "registered_by"]
    search_fields = ["name", "developer"]
    ordering = ["name", "pk"]
    readonly_fields = ["key"]
    actions = None


@admin.register(AuthenticationProvider)
class AuthenticationProviderAdmin(ReadOnlyAdmin[AuthenticationProvider]):
    list_display = ["name", "mode", "is_active", "activated_at", "activated_by"]
    list_filter = ["mode", "is_active"]
    search_fields = ["name"]
    ordering = ["name", "pk"]
    fields = ["name", "mode", "configuration", "is_active", "activated_at", "activated_by", "key"]
    readonly_fields = ["key"]
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuthenticationProvider]:
        return super().get_queryset(request).defer("sealed_secret")


@admin.register(ProviderTest)
class ProviderTestAdmin(ReadOnlyAdmin[ProviderTest]):
    list_display = ["provider", "status", "requested_at", "requested_by", "ended_at"]
    list_filter = ["status"]
    list_select_related = ["provider"]
    ordering = ["-pk"]
    readonly_fields = ["key"]
    actions = None


@admin.register(RegistrationDraft)
class RegistrationDraftAdmin(RowsOfEnvironments):
    list_display = ["environment", "people_message", "people_left_out"]
