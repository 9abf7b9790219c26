"""Forms about applications. Their rules are in the domain modules; forms only read what was typed."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from environments import tagging
from environments.forms import DialogForm, ReasonField
from environments.models import Environment, EnvironmentFilter


class EnvironmentFilterForm(forms.ModelForm[EnvironmentFilter]):
    """A person's own named set of environments."""

    class Meta:
        model = EnvironmentFilter
        fields = ["name", "environments", "is_default"]
        widgets = {"environments": forms.CheckboxSelectMultiple}
        help_texts = {"environments": "At least two."}

    def __init__(self, *args: Any, seen: Sequence[Environment], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["name"].widget.attrs.update({"autocomplete": "off"})
        self.fields["environments"].queryset = (  # type: ignore[attr-defined]
            Environment.objects.filter(pk__in=[one.pk for one in seen]).in_order()
        )

    def clean(self) -> dict[str, Any]:
        """Leave the constraints to `environments.filters`, whose refusals name the field."""
        return self.cleaned_data

    def _post_clean(self) -> None:
        """Write nothing into the instance: `filters.save` does."""


class TagForm(DialogForm):
    """A version to tag; for a mobile application with the numbers that the stores show."""

    version = forms.CharField(max_length=40, help_text="One to three numbers with dots between them, like 4.2.")
    change_log = forms.CharField(
        label="Description",
        required=False,
        max_length=tagging.LONGEST_CHANGE_LOG,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What changed since the last version.",
    )

    def __init__(self, *args: Any, mobile: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["version"].widget.attrs.update({"autocomplete": "off", "inputmode": "decimal", "autofocus": True})
        self._mobile = mobile
        for platform, highest in mobile.items():
            self.fields[f"{platform.lower()}_version"] = forms.CharField(
                label=f"{platform} version number",
                required=False,
                max_length=40,
                help_text=f"Higher than {highest}." if highest else "It must rise with every version.",
                widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "decimal"}),
            )

    @property
    def wanted(self) -> tagging.Wanted:
        data = self.cleaned_data
        return tagging.Wanted(
            version=data["version"],
            change_log=data["change_log"],
            mobile_versions=[
                {"platform": platform, "version": number}
                for platform in self._mobile
                if (number := data[f"{platform.lower()}_version"])
            ],
        )


class BlockForm(DialogForm):
    reason = ReasonField(label="Reason", help_text="One line of at most 500 characters; it goes into the audit log.")
