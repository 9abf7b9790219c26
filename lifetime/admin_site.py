"""Django admin as support staff get it: one way to log in, tables that stay fast, nothing to delete."""

from functools import cached_property
from typing import Any, TypeVar

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.urls import reverse

MOST_COUNTED = 10_000
Row = TypeVar("Row", bound=Model)


class ConsoleAdminSite(admin.AdminSite):
    site_header = "Lifetime: support"
    site_title = "Lifetime support"
    index_title = "What support staff look after"

    @login_not_required
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The console's log-in, which counts failures and is audited; Django admin's own does neither."""
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied("Only support staff open this part; an administrator adds people to that group.")
        wanted = request.GET.get("next") or reverse("admin:index", current_app=self.name)
        return redirect_to_login(wanted, resolve_url("lifetime:login"))

    def password_change(  # type: ignore[override]  # a redirect, where Django renders a page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return redirect("lifetime:change-password")


class CappedPaginator(Paginator[Row]):
    """Counts, and pages through, the first some thousands only: an offset into a million rows is slow."""

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)  # noqa: S101 - admin gives nothing else
        return self.object_list.order_by()[:MOST_COUNTED].count()


class ReadOnlyAdmin(admin.ModelAdmin[Row]):
    """Rows that the console writes: support staff look, and nobody changes them here."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 100

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False
