"""People in Django admin, for support staff: they look. What changes people is the console's tab User Management.

A superuser gives and takes the rights in Django admin itself, which the console does not know; that is audited here.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from audit import log
from lifetime import queue_admin
from lifetime.admin_site import ReadOnlyAdmin
from lifetime.models import (
    ApplicationRole,
    Download,
    LoginCounter,
    Role,
    RoleLevel,
    ServiceAccount,
    ServiceToken,
    Team,
    TeamApplication,
    TeamMembership,
    User,
)
from lifetime.requests import client_address

__all__ = ["queue_admin"]  # Django imports this module, and it the queue's


class _ReadOnlyInline(admin.TabularInline[Any, Any]):
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class RoleLevelInline(_ReadOnlyInline):
    model = RoleLevel

    def get_queryset(self, request: HttpRequest) -> QuerySet[RoleLevel]:
        return super().get_queryset(request).select_related("environment").order_by("environment__position", "pk")


@admin.register(Role)
class RoleAdmin(ReadOnlyAdmin[Role]):
    list_display = [
        "name",
        "description",
        "is_built_in",
        "manage_infrastructure_and_users",
        "manage_teams_and_application_roles",
    ]
    search_fields = ["name"]
    ordering = ["name", "pk"]
    inlines = [RoleLevelInline]


@admin.register(User)
class UserAdmin(ReadOnlyAdmin[User]):
    list_display = ["username", "name", "email", "role", "is_active", "is_staff", "last_login"]
    list_filter = ["role", "is_active", "is_staff", "groups"]
    list_select_related = ["role"]
    search_fields = ["username", "name", "email"]
    ordering = ["username", "pk"]
    filter_horizontal = ["groups"]
    readonly_fields = [
        *("username", "name", "email", "role", "is_active", "time_zone", "theme", "key", "created_at", "last_login")
    ]
    fieldsets = [
        (None, {"fields": ["username", "name", "email", "role", "is_active"]}),
        ("Settings", {"fields": ["time_zone", "theme"]}),
        ("Django admin", {"fields": ["is_staff", "is_superuser", "groups"]}),
        ("Facts", {"fields": ["key", "created_at", "last_login"]}),
    ]

    # Whoever may give these rights can make himself anything, so only superusers do; support staff look.

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def save_related(self, request: HttpRequest, form: ModelForm[User], formsets: Any, change: bool) -> None:
        """Save the groups, and say in the audit log what was changed."""
        with transaction.atomic():
            user = form.instance
            before = sorted(Group.objects.filter(user=user).values_list("name", flat=True))
            super().save_related(request, form, formsets, change)
            after = sorted(Group.objects.filter(user=user).values_list("name", flat=True))
            if form.changed_data and isinstance(request.user, User):
                log.record(
                    f"Changed the rights of user '{user.name}' ({user.username}) in Django admin",
                    user.audit_object,
                    by=request.user.actor(client_address(request)),
                    details={
                        "support staff": user.is_staff,
                        "superuser": user.is_superuser,
                        "groups before": before,
                        "groups": after,
                    },
                )


@admin.register(Team)
class TeamAdmin(ReadOnlyAdmin[Team]):
    list_display = ["name", "description"]
    search_fields = ["name"]
    ordering = ["name", "pk"]


@admin.register(TeamMembership)
class TeamMembershipAdmin(ReadOnlyAdmin[TeamMembership]):
    list_display = ["team", "user", "role"]
    list_select_related = ["team", "user", "role"]
    search_fields = ["team__name", "user__username", "user__name"]
    ordering = ["team__name", "pk"]


@admin.register(TeamApplication)
class TeamApplicationAdmin(ReadOnlyAdmin[TeamApplication]):
    list_display = ["team", "application"]
    list_select_related = ["team", "application"]
    search_fields = ["team__name", "application__name"]
    ordering = ["team__name", "pk"]


@admin.register(ApplicationRole)
class ApplicationRoleAdmin(ReadOnlyAdmin[ApplicationRole]):
    list_display = ["application", "user", "role"]
    list_select_related = ["application", "user", "role"]
    search_fields = ["application__name", "user__username", "user__name"]
    ordering = ["application__name", "pk"]


class ServiceTokenInline(_ReadOnlyInline):
    model = ServiceToken
    fields = ["prefix", "created_at", "created_by", "expires_at", "revoked_at", "revoked_by", "last_used_at"]
    readonly_fields = ["prefix", "created_at", "created_by", "expires_at", "revoked_at", "revoked_by", "last_used_at"]


@admin.register(ServiceAccount)
class ServiceAccountAdmin(ReadOnlyAdmin[ServiceAccount]):
    list_display = ["username", "description", "role", "is_active", "created_at"]
    list_select_related = ["role"]
    search_fields = ["username", "description"]
    ordering = ["username", "pk"]
    inlines = [ServiceTokenInline]


@admin.register(Download)
class DownloadAdmin(ReadOnlyAdmin[Download]):
    list_display = ["name", "kind", "account", "environment", "status", "size", "requested_at", "ended_at"]
    list_filter = ["kind", "status"]
    list_select_related = ["account", "environment"]
    search_fields = ["name", "account__username"]
    ordering = ["-pk"]
    readonly_fields = ["key"]
    actions = None


@admin.register(LoginCounter)
class LoginCounterAdmin(admin.ModelAdmin[LoginCounter]):
    """Failed log-ins; deleting a row unblocks its subject."""

    list_display = ["address", "username", "failures", "blocked_until", "last_failed_at"]
    search_fields = ["address", "username"]
    ordering = ["-last_failed_at", "pk"]
    readonly_fields = ["address", "username", "failures", "counting_since", "last_failed_at", "blocked_until"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
