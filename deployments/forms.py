"""Forms about deployment plans. Their rules are in the domain modules; forms read what was typed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils import timezone

from audit.forms import DayField
from deployments.listing import LARGEST_NUMBER, Filter
from deployments.models import PlanStatus
from deployments.models.plan import LABEL_LENGTH, NOTES_LENGTH, REASON_LENGTH
from environments.application_forms import TagForm
from environments.forms import DialogForm
from environments.models import Environment

LONGEST_TEXT = 200


class FilterForm(forms.Form):
    """What the address of the Deployment Plans page says."""

    text = forms.CharField(
        label="Search",
        required=False,
        max_length=LONGEST_TEXT,
        widget=forms.TextInput(
            {"type": "search", "autocomplete": "off", "placeholder": "Number, label, person, notes, application"}
        ),
    )
    target = forms.ChoiceField(label="Deployed to", required=False)
    status = forms.ChoiceField(label="Plan status", required=False, choices=[("", "Any"), *PlanStatus.choices])
    by = forms.ChoiceField(
        label="Dates of",
        required=False,
        choices=[("created", "Created on"), ("started", "Started on")],
        widget=forms.RadioSelect,
        initial="created",
    )
    drafts = forms.BooleanField(label="Show draft", required=False)
    before = forms.IntegerField(required=False, min_value=1, max_value=LARGEST_NUMBER, widget=forms.HiddenInput)

    def __init__(self, data: QueryDict, *, targets: Sequence[Environment]) -> None:
        super().__init__({"by": "created", **{name: data[name] for name in data}})
        self.fields["target"].choices = [  # type: ignore[attr-defined]
            ("", "Any environment"),
            *((str(one.key), one.name if one.is_registered else f"{one.name} (unregistered)") for one in targets),
        ]
        self.fields["from"] = DayField(label="From", required=False)
        self.fields["to"] = DayField(label="To", required=False)

    @property
    def advanced(self) -> list[forms.BoundField]:
        return [self[name] for name in ("by", "from", "to", "drafts")]

    @property
    def has_advanced(self) -> bool:
        """Whether what is folded away is in force."""
        return bool(self["from"].value() or self["to"].value() or self["drafts"].value() or self["by"].errors)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = self.cleaned_data
        begin, end = values.get("from"), values.get("to")
        if begin and end and begin > end:
            self.add_error("from", "From has to be a day before To, or the same.")
        return values

    @property
    def wanted(self) -> Filter:
        values = self.cleaned_data
        return Filter(
            target=UUID(values["target"]) if values["target"] else None,
            status=values["status"],
            by_start=values["by"] == "started",
            since=_midnight(values["from"]) if values["from"] else None,
            until=_midnight(values["to"] + timedelta(days=1)) if values["to"] else None,
            drafts=values["drafts"],
            text=values["text"],
        )

    @property
    def in_force(self) -> dict[str, str]:
        """The filter in the words of the address."""
        given = {name: str(self[name].value() or "") for name in self.fields if name != "before"}
        dates = given["from"] or given["to"]
        return {name: value for name, value in given.items() if value and (name != "by" or dates) and value != "False"}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=timezone.get_current_timezone())


class EnvironmentField(forms.ModelChoiceField[Environment]):
    """One of the environments that the person has access to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Environment.objects.none(), to_field_name="key", **options)

    def offer(self, environments: Sequence[Environment]) -> None:
        found = Environment.objects.filter(pk__in=[one.pk for one in environments])
        self.queryset = found.select_related("maintenance_window").in_order()


class RouteForm(DialogForm):
    """From where to where."""

    source = EnvironmentField(label="Source environment", empty_label=None)
    target = EnvironmentField(label="Target environment", empty_label=None)

    def __init__(self, *args: Any, environments: Sequence[Environment], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["source"].widget.attrs["autofocus"] = True
        for name in ("source", "target"):
            field = self.fields[name]
            assert isinstance(field, EnvironmentField)  # noqa: S101 - for the type checker
            field.offer(environments)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = self.cleaned_data
        if values.get("source") and values.get("source") == values.get("target"):
            self.add_error("target", "Source and target are the same environment; choose two.")
        return values


class CreatePlanForm(RouteForm):
    """A new plan: from where to where, and what it begins with."""

    begin = forms.BooleanField(
        label="Begin with the applications that are ahead of the target", required=False, initial=True
    )
    application = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self["application"].value():  # it begins with this one
            del self.fields["begin"]


class ReuseForm(RouteForm):
    same_versions = forms.BooleanField(label="Keep the same versions", required=False, initial=True)


class TargetForm(DialogForm):
    target = EnvironmentField(label="Target environment", empty_label=None)

    def __init__(self, *args: Any, environments: Sequence[Environment], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["target"]
        assert isinstance(field, EnvironmentField)  # noqa: S101 - for the type checker
        field.offer(environments)


class RevisionForm(forms.Form):
    """Which state of the plan the person saw."""

    revision = forms.IntegerField(min_value=0, max_value=LARGEST_NUMBER, widget=forms.HiddenInput)


class RelabelForm(DialogForm):
    label = forms.CharField(
        required=False, max_length=LABEL_LENGTH, widget=forms.TextInput({"autocomplete": "off", "autofocus": True})
    )


class NotesForm(forms.Form):
    label = forms.CharField(required=False, max_length=LABEL_LENGTH, widget=forms.TextInput({"autocomplete": "off"}))
    notes = forms.CharField(
        label="Deployment notes", required=False, max_length=NOTES_LENGTH, widget=forms.Textarea({"rows": 4})
    )


class StartForm(NotesForm):
    """The last step before a plan is carried out."""

    accept_removal = forms.BooleanField(required=False, label="I have read which modules go, and that is intended.")

    def __init__(self, *args: Any, has_removals: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        if not has_removals:
            del self.fields["accept_removal"]

    def clean_accept_removal(self) -> bool:
        if not self.cleaned_data["accept_removal"]:
            raise ValidationError("Confirm that these modules go from the target, or take them out of the plan.")
        return True


class AbortForm(DialogForm):
    reason = forms.CharField(
        required=False,
        max_length=REASON_LENGTH - 100,
        widget=forms.TextInput({"autocomplete": "off", "autofocus": True}),
        help_text="One line; it stands on the plan and in the audit log.",
    )


class OperationForm(TagForm):
    """A version to tag in the source when the plan runs."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["version"].label = "Version to tag"


class MissingSettingsForm(forms.Form):
    """Values of settings by application, each a field: `rows` are (application key, Setting, what is chosen)."""

    def __init__(self, rows: Sequence[Any], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rows = rows
        for number, row in enumerate(rows):
            attributes = {"autocomplete": "off", "spellcheck": "false"}
            label = f"{row.setting.name} of {row.setting.module} in {row.application_name}"
            help_text = ""
            if row.setting.is_secret:
                widget: forms.Widget = forms.PasswordInput({**attributes, "autocomplete": "new-password"})
                if row.is_given:
                    help_text = "A value is kept for it. Leave it empty to keep that; it is never shown."
            else:
                widget = forms.TextInput(attributes)
            self.fields[f"value-{number}"] = forms.CharField(
                label=label,
                required=False,
                strip=False,
                max_length=4000,
                initial=None if row.setting.is_secret else row.value,
                widget=widget,
                help_text=help_text,
            )

    @property
    def lines(self) -> list[tuple[Any, forms.BoundField]]:
        return [(row, self[f"value-{number}"]) for number, row in enumerate(self._rows)]

    def values(self) -> Mapping[int, str]:
        """What was typed, by the number of the row; an empty text is none."""
        return {number: value for number in range(len(self._rows)) if (value := self.cleaned_data[f"value-{number}"])}
