"""Nothing grows for ever."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_q.models import Task

from lifetime import housekeeping

pytestmark = pytest.mark.django_db


def failed(name, *, days_ago):
    at = timezone.now() - timedelta(days=days_ago)
    return Task.objects.create(id=name, name=name, func="f", started=at, stopped=at, success=False)


def test_old_failures_and_sessions_are_forgotten_and_new_ones_kept():
    for name, days_ago in (("old", 31), ("new", 1)):
        failed(name, days_ago=days_ago)
        Session.objects.create(session_key=name, expire_date=timezone.now() + timedelta(days=2 - days_ago))

    for _ in range(2):
        housekeeping.tidy()

    assert list(Task.objects.values_list("name", flat=True)) == ["new"]
    assert list(Session.objects.values_list("session_key", flat=True)) == ["new"]
