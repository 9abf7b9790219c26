"""People in Django admin, for support staff."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.http import HttpRequest

from lifetime.models import LoginCounter, Role, User


@admin.register(Role)
class RoleAdmin(admin.ModelAdmin[Role]):
    list_display = ["name", "description", "manage_infrastructure_and_users", "manage_teams_and_application_roles"]
    search_fields = ["name"]
    ordering = ["name", "pk"]
    readonly_fields = ["key", "is_built_in"]

    def has_delete_permission(self, request: HttpRequest, obj: Role | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_built_in)

    def has_change_permission(self, request: HttpRequest, obj: Role | None = None) -> bool:
        is_administrator = obj is not None and obj.pk == Role.objects.administrator().pk
        return super().has_change_permission(request, obj) and not is_administrator

    def get_readonly_fields(self, request: HttpRequest, obj: Role | None = None) -> list[str]:
        return [*self.readonly_fields, "name"] if obj and obj.is_built_in else self.readonly_fields


class CreateUserForm(AdminUserCreationForm[User]):
    class Meta:
        model = User
        fields = ["username", "name", "email", "role"]


class ChangeUserForm(UserChangeForm[User]):
    class Meta:
        model = User
        fields = "__all__"


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    form = ChangeUserForm
    add_form = CreateUserForm
    list_display = ["username", "name", "email", "role", "is_active", "is_staff", "last_login"]
    list_filter = ["role", "is_active", "is_staff", "groups"]
    list_select_related = ["role"]
    search_fields = ["username", "name", "email"]
    ordering = ["username", "pk"]
    readonly_fields = ["key", "created_at", "last_login"]
    fieldsets = [
        (None, {"fields": ["username", "password", "name", "email", "role", "is_active"]}),
        ("Settings", {"fields": ["time_zone", "theme"]}),
        ("Django admin", {"fields": ["is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Facts", {"fields": ["key", "created_at", "last_login"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["username", "name", "email", "role", "usable_password", "password1", "password2"]}),
    ]

    # Whoever may set rights and passwords can make himself anything, so only superusers write; support staff look.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return request.user.is_superuser

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False  # people are made inactive: what they did stays readable


@admin.register(LoginCounter)
class LoginCounterAdmin(admin.ModelAdmin[LoginCounter]):
    """Failed log-ins; deleting a row unblocks its subject."""

    list_display = ["address", "username", "failures", "blocked_until", "last_failed_at"]
    search_fields = ["address", "username"]
    ordering = ["-last_failed_at", "pk"]
    readonly_fields = ["address", "username", "failures", "counting_since", "last_failed_at", "blocked_until"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
