"""The picture of an application. Its address has its digest, so browsers keep it."""

from uuid import UUID

from django.http import Http404, HttpResponse
from django.views.decorators.http import require_safe

from environments.models import ApplicationIcon
from lifetime import policy
from lifetime.policy import Action
from lifetime.requests import AuthenticatedRequest


@require_safe
def icon(request: AuthenticatedRequest, key: UUID, digest: str) -> HttpResponse:
    policy.get_application(request.user, key, Action.VIEW_APPLICATIONS)
    found = ApplicationIcon.objects.filter(application_key=key, digest=digest).first()
    if found is None:
        raise Http404("There is no such icon.")
    response = HttpResponse(bytes(found.content), content_type=found.media_type)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
