"""The queue in Django admin, to be looked at.

django-q2's own pages let whoever may look send a task again, without a question and without a trace, and superusers
schedule any function there is. People retry on the console's pages, which ask the policy and write the audit log.
"""

from django.contrib import admin
from django_q import admin as django_q_admin
from django_q.models import Failure, OrmQ, Schedule, Success

from lifetime.admin_site import ReadOnlyAdmin


class FailureAdmin(ReadOnlyAdmin[Failure], django_q_admin.FailAdmin):  # type: ignore[misc]
    actions = None
    ordering = ["-stopped", "pk"]


class SuccessAdmin(ReadOnlyAdmin[Success], django_q_admin.TaskAdmin):  # type: ignore[misc]
    actions = None
    ordering = ["-stopped", "pk"]


class ScheduleAdmin(ReadOnlyAdmin[Schedule], django_q_admin.ScheduleAdmin):  # type: ignore[misc]
    actions = None
    ordering = ["name", "pk"]
    list_filter = ["schedule_type"]


class QueueAdmin(ReadOnlyAdmin[OrmQ], django_q_admin.QueueAdmin):  # type: ignore[misc]
    actions = None
    ordering = ["lock", "pk"]


for model, page in ((Failure, FailureAdmin), (Success, SuccessAdmin), (Schedule, ScheduleAdmin), (OrmQ, QueueAdmin)):
    if admin.site.is_registered(model):  # with the queue in Redis one of them is not
        admin.site.unregister(model)
        admin.site.register(model, page)
