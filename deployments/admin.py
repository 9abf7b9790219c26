"""Deployment plans in Django admin: to read. People operate them in the console."""

from django.contrib import admin

from deployments.models import DeploymentPlan
from lifetime.admin_site import ReadOnlyAdmin


@admin.register(DeploymentPlan)
class DeploymentPlanAdmin(ReadOnlyAdmin[DeploymentPlan]):
    list_display = ["number", "label", "source", "target", "status", "created_by", "started_at", "aborted_at"]
    list_display_links = ["number", "label"]
    list_filter = ["status"]
    list_select_related = ["source", "target"]
    search_fields = ["label"]
    ordering = ["-number"]
    readonly_fields = ["key"]
    actions = None
