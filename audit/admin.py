"""The log in Django admin: to read, never to change."""

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from audit.models import Anchor, AuditEvent, known_object_types

MOST_COUNTED = 10_000


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class _CappedPaginator(Paginator[AuditEvent]):
    """Counts, and pages through, the newest entries only: an offset into a million rows is slow."""

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)  # noqa: S101 - admin gives nothing else
        return self.object_list.order_by()[:MOST_COUNTED].count()


class _ObjectTypeFilter(admin.SimpleListFilter):
    title = "changes to"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in known_object_types()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        return queryset.filter(object_type=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(_ReadOnly, admin.ModelAdmin[AuditEvent]):
    list_display = ["number", "at", "actor", "message", "kind", "succeeded", "object_type", "object_name"]
    list_display_links = ["number", "message"]
    list_filter = ["succeeded", "kind", _ObjectTypeFilter]
    search_fields = ["message"]
    search_help_text = "Part of the message"
    ordering = ["-number"]
    paginator = _CappedPaginator
    show_full_result_count = False
    actions = None


@admin.register(Anchor)
class AnchorAdmin(_ReadOnly, admin.ModelAdmin[Anchor]):
    list_display = ["number", "at", "cut_at", "hash"]
    ordering = ["-number"]
    actions = None
