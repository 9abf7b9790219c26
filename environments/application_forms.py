"""Forms about applications. Their rules are in the domain modules; forms only read what was typed."""

from collections.abc import Sequence
from typing import Any

from django import forms

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
