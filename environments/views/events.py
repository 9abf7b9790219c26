"""Where environments, not people, come in."""

from uuid import UUID

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from environments import events, gate
from environments.models import Environment


@csrf_exempt
@login_not_required
@require_POST
def receive(request: HttpRequest, key: UUID) -> HttpResponse:
    """202 for an event, new or known; 401 without a good signature; 409 while the console keeps quiet; 404, 413."""
    if int(request.headers.get("Content-Length") or 0) > events.LONGEST_BODY:
        return HttpResponse("An event is shorter than that.", status=413, content_type="text/plain")
    environment = Environment.objects.registered().select_related("sync_state").filter(key=key).first()
    if environment is None:
        return HttpResponse("No such environment is registered here.", status=404, content_type="text/plain")
    try:
        events.receive(environment, signature=request.headers.get("Lifetime-Signature", ""), body=request.body)
    except events.EventRefused as refusal:
        return HttpResponse(str(refusal), status=401, content_type="text/plain")
    except gate.Refused:
        return HttpResponse(
            "Not now: the full synchronization to come finds it.", status=409, content_type="text/plain"
        )
    return HttpResponse(status=202)
