"""A page with every component of the console, for tests and for people who change the CSS."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.template import engines
from django.urls import path
from django.utils import timezone

from lifetime import policy
from lifetime.urls import handler403
from lifetime.urls import urlpatterns as console_urls

__all__ = ["handler403", "urlpatterns"]

TEMPLATE = Path(__file__).with_name("styleguide.html")


@dataclass
class Decision:
    allowed: bool
    reason: str = ""


class ReasonForm(forms.Form):
    reason = forms.CharField(widget=forms.Textarea, max_length=500, help_text="One line that others will understand.")
    expected_end = forms.CharField(required=False, help_text="When you think to be done.")
    two_stages = forms.BooleanField(required=False, label="Execute deployments in two stages")
    kind = forms.ChoiceField(choices=[("a", "Self-managed"), ("b", "Cloud")])
    how = forms.ChoiceField(choices=[("a", "Light"), ("b", "Dark")], widget=forms.RadioSelect)
    fixed = forms.CharField(disabled=True, initial="Cannot be changed now", required=False)


def page(request):
    for say in (messages.success, messages.info, messages.warning, messages.error):
        say(request, f"This is a {say.__name__}.")
    refusal = Decision(False, "Ada Lovelace enabled maintenance mode at 14:05: platform upgrade. Disable it first.")
    context = {
        "form": ReasonForm(auto_id="page-%s"),
        "refused_form": ReasonForm({"reason": "", "how": "a"}, auto_id="refused-%s"),
        "allowed": Decision(True),
        "refused": refusal,
        "now": timezone.now(),
        "earlier": timezone.now() - timedelta(minutes=4),
        "log": "\n".join(f"14:05:{second:02d} Reading applications, page {second}" for second in range(40)),
        "log_lines": range(5),
    }
    return HttpResponse(engines["django"].from_string(TEMPLATE.read_text()).render(context, request))


DIALOG = """{% load console %}<form hx-post="/styleguide/dialog/" hx-target="#dialog">
  <h2 id="dialog-title">Enable maintenance mode of Production?</h2>
  {{ form }}
  <div class="actions"><button form="cancel" class="button">Cancel</button>
  <button class="button button--danger">Enable</button></div>
</form>
<form id="cancel" method="dialog"></form>"""


class OneReason(forms.Form):
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), max_length=500)


def dialog(request):
    form = OneReason(request.POST or None)
    if form.is_valid():
        return HttpResponse("")
    body = engines["django"].from_string(DIALOG).render({"form": form}, request)
    return HttpResponse(body, status=422 if request.method == "POST" else 200)


POLLED = """<div id="polled" hx-get="/styleguide/polled/" hx-trigger="every 300ms" hx-swap="outerHTML">
  <p>Asked <span id="count">{{ count }}</span> times</p><a href="#somewhere">A link</a></div>"""


def polled(request):
    polled.count = getattr(polled, "count", 0) + 1
    return HttpResponse(engines["django"].from_string(POLLED).render({"count": polled.count}, request))


def refuses(request):
    from django.core.exceptions import PermissionDenied

    raise PermissionDenied("Only Ada may do this.")


def conflicts(request):
    raise policy.InMaintenance("Ada enabled maintenance mode at 14:05.")


urlpatterns = [
    *console_urls,
    path("styleguide/", page),
    path("styleguide/dialog/", dialog),
    path("styleguide/polled/", polled),
    path("styleguide/refuses/", refuses),
    path("styleguide/conflicts/", conflicts),
]
