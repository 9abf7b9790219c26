"""Pages of the log: filtered list, one entry, download."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe
from psycopg.errors import QueryCanceled

from audit import export as files
from audit import paging
from audit.forms import FilterForm, FormatForm, PageForm
from audit.log import AuditObject, Kind, record
from audit.models import AuditEvent, known_actors
from lifetime import policy
from lifetime.requests import AuthenticatedRequest, client_address

LONGEST_SEARCH_MS = 5_000


@require_safe
def events(request: AuthenticatedRequest) -> HttpResponse:
    _require_reader(request)
    form, position = FilterForm(request.GET), PageForm(request.GET)
    page = None
    if form.is_valid() and position.is_valid():
        try:
            with _patience():
                page = paging.page(
                    form.events(), before=position.cleaned_data["before"], after=position.cleaned_data["after"]
                )
        except _TooSlow:
            form.add_error(None, "This search takes too long. Write more of the message, or choose fewer days.")
    elif form.is_valid():
        form.add_error(None, "This page of the log does not exist. Press Filter to see the newest entries.")
    context = {
        "form": form,
        "page": page,
        "actors": known_actors(),
        "filter": urlencode(form.in_force),
        "formats": files.Format.choices,
    }
    return render(request, "audit/events.html", context, status=200 if page else 422)


@require_safe
def event(request: AuthenticatedRequest, key: UUID) -> HttpResponse:
    _require_reader(request)
    event = get_object_or_404(AuditEvent, key=key)
    related = AuditEvent.objects.filter(cause=key).order_by("number")[: paging.SIZE + 1]
    context = {
        "event": event,
        "cause": AuditEvent.objects.filter(key=event.cause).first() if event.cause else None,
        "effects": list(related),
    }
    return render(request, "audit/event.html", context)


@require_safe
def actors(request: AuthenticatedRequest) -> HttpResponse:
    """The people the User field offers while somebody types."""
    _require_reader(request)
    found = known_actors(request.GET.get("user", "").strip()[:100].replace("\0", ""))
    return render(request, "audit/_actors.html", {"actors": found})


@require_safe
def export(request: AuthenticatedRequest) -> HttpResponse | StreamingHttpResponse:
    """The filtered log as a file, streamed. That somebody took it is an entry of its own."""
    _require_reader(request)
    form, wanted = FilterForm(request.GET), FormatForm(request.GET)
    if not form.is_valid() or not wanted.is_valid():
        if form.is_valid():
            form.add_error(None, "Say in the address as what: format=csv, format=jsonl or format=xlsx.")
        return _refused_download(request, form)
    file_format = files.Format(wanted.cleaned_data["format"])
    try:
        with _patience():
            file_format.refuse_too_many(form.events())
    except files.TooMany as refusal:
        form.add_error(None, str(refusal))
        return _refused_download(request, form)
    except _TooSlow:
        form.add_error(None, "Counting these takes too long. Choose fewer days, or download CSV or JSON lines.")
        return _refused_download(request, form)
    with transaction.atomic():
        record(
            f"Downloaded audit events as {file_format.label}",
            AuditObject(type="audit log", key="", name="Audit log"),
            by=request.user.actor(client_address(request)),
            kind=Kind.VIEW,
            details={"filter": form.in_force},
        )
    pieces = file_format.write(form.events())
    return StreamingHttpResponse(
        pieces,
        content_type=file_format.content_type,
        headers={"Content-Disposition": f'attachment; filename="audit-{timezone.localdate()}.{file_format}"'},
    )


def _refused_download(request: AuthenticatedRequest, form: FilterForm) -> HttpResponse:
    context = {"form": form, "page": None, "actors": known_actors(), "formats": files.Format.choices}
    return render(request, "audit/events.html", context, status=422)


def _require_reader(request: AuthenticatedRequest) -> None:
    policy.require(request.user, policy.Action.VIEW_AUDIT_LOG)


class _TooSlow(Exception):
    pass


@contextmanager
def _patience() -> Iterator[None]:
    """Give a search some seconds: nobody's filter keeps the database busy."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {LONGEST_SEARCH_MS}")
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise _TooSlow from error
        raise
