"""The filter of the log, the same for the page, the download and the command."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from audit.export import Format
from audit.models import AuditEvent, AuditEventQuerySet, known_actors, known_object_types

DAYS_SHOWN = 7
FIRST_YEAR, LAST_YEAR = 1970, 2199
LARGEST_NUMBER = 2**63 - 1
EVERYBODY = 5_000


class DayField(forms.DateField):
    """A day of the person who looks."""

    widget = forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})
    default_error_messages = {"invalid": "Write the date as year-month-day, for example 2026-11-23."}

    def clean(self, value: Any) -> date | None:
        day: date | None = super().clean(value)
        if day and not FIRST_YEAR <= day.year <= LAST_YEAR:
            raise ValidationError(f"The year has to be between {FIRST_YEAR} and {LAST_YEAR}.")
        return day


class FilterForm(forms.Form):
    """What the address of a page of the log says. A date that is absent is the default, an empty one is none."""

    message = forms.CharField(label="Message", required=False, max_length=200)
    user = forms.CharField(label="User", required=False, max_length=600)
    type = forms.ChoiceField(
        label="Changes to",
        required=False,
        error_messages={"invalid_choice": "The log has no entry about “%(value)s”."},
    )
    updates = forms.BooleanField(label="Only updates", required=False)
    failed = forms.BooleanField(label="Only failed actions", required=False)
    key = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)  # of one object

    field_order = ["message", "from", "to", "user", "type", "updates", "failed"]

    def __init__(self, data: Mapping[str, Any]) -> None:
        today = timezone.localdate()
        defaults = {"from": (today - timedelta(days=DAYS_SHOWN)).isoformat(), "to": today.isoformat()}
        given = {name: data[name] for name in data}
        super().__init__({**defaults, **given})
        self.is_default = not any(given.get(name) for name in (*self.base_fields, "before", "after")) and not (
            {"from", "to"} & given.keys()
        )
        self.usernames: list[str] | None = None
        self.fields["from"] = DayField(label="From", required=False)
        self.fields["to"] = DayField(label="To", required=False)
        self.order_fields(self.field_order)
        user = self.fields["user"].widget.attrs
        user.update({"list": "audit-actors", "autocomplete": "off", "placeholder": "Name or username"})
        user.update({"hx-get": reverse("audit:actors"), "hx-trigger": "input changed delay:250ms"})
        user.update({"hx-target": "#audit-actors", "hx-params": "user", "hx-sync": "this:replace"})
        types = self.fields["type"]
        assert isinstance(types, forms.ChoiceField)  # noqa: S101 - for the type checker
        types.choices = [("", "Anything"), *((name, name[:1].upper() + name[1:]) for name in known_object_types())]

    def clean_user(self) -> str:
        """Find who is meant by "System", a username, a name, or "name (username)" as the list offers it."""
        text: str = self.cleaned_data["user"]
        if not text or text.lower() == "system":
            return text
        username = text[text.rfind("(") + 1 : -1] if text.endswith(")") and "(" in text else text
        if AuditEvent.objects.by_username(username).exists():
            self.usernames = [username]
            return text
        wanted = {text.casefold(), username.casefold()}
        found = known_actors(username, limit=EVERYBODY) + known_actors(text, limit=EVERYBODY)
        names = {each for each, name in found if each and {each.casefold(), name.casefold()} & wanted}
        if not names:
            raise ValidationError(f"Nobody called “{text}” is in the log. Choose from the list, or write a username.")
        self.usernames = sorted(names)
        return text

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = self.cleaned_data
        begin, end = values.get("from"), values.get("to")
        if begin and end and begin > end:
            self.add_error("from", "From has to be a day before To, or the same.")
        return values

    def events(self) -> AuditEventQuerySet:
        """The entries that pass the filter; only when the form is valid. Days begin in the current time zone."""
        values = self.cleaned_data
        events: AuditEventQuerySet = AuditEvent.objects.all()
        if values["from"]:
            events = events.since(_midnight(values["from"]))
        if values["to"]:
            events = events.until(_midnight(values["to"] + timedelta(days=1)))
        if values["message"]:
            events = events.containing(values["message"])
        if self.usernames is not None:
            events = events.by_username(*self.usernames)
        elif values["user"]:
            events = events.by_system()
        if values["type"]:
            events = events.filter(object_type=values["type"])
        if values["key"]:
            events = events.filter(object_key=values["key"])
        if values["updates"]:
            events = events.updates()
        if values["failed"]:
            events = events.failed()
        return events

    @property
    def in_force(self) -> dict[str, str]:
        """The filter in the words of the address, for the links of the page and for the record of a download."""
        given = {name: str(self[name].value() or "") for name in self.fields}
        return {name: value for name, value in given.items() if value or name in {"from", "to"}}


class PageForm(forms.Form):
    """Which page of the filtered log: older than one number, or newer than one."""

    before = forms.IntegerField(required=False, min_value=1, max_value=LARGEST_NUMBER)
    after = forms.IntegerField(required=False, min_value=0, max_value=LARGEST_NUMBER)


class FormatForm(forms.Form):
    format = forms.ChoiceField(choices=Format.choices)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())
