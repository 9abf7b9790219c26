"""Deployment plans in Django admin: to read. People operate them in the console."""

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from deployments.models import (
    DeploymentPlan,
    ModuleReferences,
    PlanFinding,
    PlanLine,
    PlanModule,
    PlanOperation,
    PlanStep,
)
from lifetime.admin_site import ReadOnlyAdmin

LINES = 200


class ReadOnlyInline(admin.TabularInline[Any, Any]):
    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class OperationInline(ReadOnlyInline):
    model = PlanOperation
    fields = ("application_name", "kind", "version_number", "source_version", "target_version", "is_dependency")
    ordering = ("position", "pk")


class StepInline(ReadOnlyInline):
    model = PlanStep
    fields = ("name", "state", "began_at", "ended_at", "warnings", "errors")
    ordering = ("position",)


class FindingInline(ReadOnlyInline):
    model = PlanFinding
    fields = ("severity", "type", "message")
    ordering = ("position", "pk")


@admin.register(DeploymentPlan)
class DeploymentPlanAdmin(ReadOnlyAdmin[DeploymentPlan]):
    list_display = ("number", "label", "source", "target", "status", "created_by", "started_at", "aborted_at")
    list_display_links = ("number", "label")
    list_filter = ("status", "target_state", "remote")
    list_select_related = ("source", "target")
    search_fields = ("label", "=number")
    ordering = ("-number",)
    exclude = ("answer",)
    readonly_fields = ("key",)
    actions = None
    inlines = (OperationInline, StepInline, FindingInline)


@admin.register(PlanLine)
class PlanLineAdmin(ReadOnlyAdmin[PlanLine]):
    list_display = ("plan", "line", "at", "type", "step", "message")
    list_filter = ("type",)
    list_select_related = ("plan",)
    search_fields = ("=plan__number",)
    ordering = ("-pk",)


@admin.register(PlanModule)
class PlanModuleAdmin(ReadOnlyAdmin[PlanModule]):
    """What keeps a plan from being started: modules that another one occupies."""

    list_display = ("target", "module_key", "plan", "is_referenced")
    list_select_related = ("plan", "target")
    search_fields = ("=plan__number", "=module_key")
    ordering = ("target", "module_key", "pk")


@admin.register(ModuleReferences)
class ModuleReferencesAdmin(ReadOnlyAdmin[ModuleReferences]):
    list_display = ("module_name", "application_name", "version_key", "read_at")
    search_fields = ("module_name", "application_name")
    ordering = ("-pk",)
