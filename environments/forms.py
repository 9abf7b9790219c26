"""Forms about environments. Their rules are in the domain modules; forms only read what was typed."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html

from environments import addresses, maintenance, registry
from environments.models import Environment

QUIET = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class ReasonField(forms.CharField):
    """Why somebody toggles maintenance mode."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strip=False, **options)
        self.widget.attrs.update({"autocomplete": "off", "autofocus": True})

    def clean(self, value: Any) -> str:
        return maintenance.clean_reason(self.to_python(value) or "")


class ExpectedEndField(forms.DateTimeField):
    """An instant, typed in the time zone of the person who looks."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})
    default_error_messages = {"invalid": "Write date and time, for example 2026-11-23T18:00."}

    def clean(self, value: Any) -> datetime | None:
        instant: datetime | None = super().clean(value)
        if instant is not None:
            maintenance.clean_expected_end(instant)
        return instant


class AddressField(forms.CharField):
    """An address of an environment, or of this console as environments see it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=300, **options)
        self.widget.attrs.update({"inputmode": "url", **QUIET})

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        return addresses.normalise(text) if text else ""


class TokenField(forms.CharField):
    """A bearer token: written, never shown."""

    widget = forms.PasswordInput(attrs={**QUIET, "autocomplete": "new-password"})

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=2000, **options)

    def clean(self, value: Any) -> str:
        return registry.clean_token(super().clean(value))


class NameField(forms.CharField):
    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=60, **options)
        self.widget.attrs.update({"autocomplete": "off"})

    def clean(self, value: Any) -> str:
        return registry.clean_name(super().clean(value))


class DialogForm(forms.Form):
    """A form in the dialog, over a page that has forms of its own: its ids are others."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"auto_id": "dialog-%s", **options})


class EnableMaintenanceForm(DialogForm):
    reason = ReasonField(
        label="Reason", help_text="One line of at most 500 characters, shown to everybody concerned and audited."
    )
    expected_end = ExpectedEndField(
        label="Expected until", required=False, help_text="People see it; nothing happens by itself when it is over."
    )
    epoch = forms.IntegerField(min_value=0, max_value=2**63 - 1, required=False, widget=forms.HiddenInput)


class DisableMaintenanceForm(DialogForm):
    reason = ReasonField(label="Reason", help_text="One line of at most 500 characters; it goes into the audit log.")
    window = forms.UUIDField(required=False, widget=forms.HiddenInput)


class UnregisterForm(DialogForm):
    """Typing the name is what confirms it."""

    name = forms.CharField(label="Name of the environment", required=False)

    def __init__(self, environment: Environment, data: Any = None) -> None:
        super().__init__(data)
        self._name = environment.name
        self.fields["name"].help_text = format_html("Type <strong>{}</strong> to confirm.", environment.name)
        self.fields["name"].widget.attrs.update({"autofocus": True, "required": True, **QUIET})

    def clean_name(self) -> str:
        typed: str = self.cleaned_data["name"]
        if typed != self._name:
            raise ValidationError(f"Type the name exactly as it is: {self._name}")
        return typed


class MoveForm(forms.Form):
    """The place in the pipeline, 0 being the leftmost."""

    to = forms.IntegerField(min_value=0, max_value=1_000_000)


class _EnvironmentForm(forms.ModelForm[Environment]):
    """What is typed is checked field by field here; the registry decides under its lock."""

    def clean(self) -> dict[str, Any]:
        """Leave the constraints to the registry, whose refusals name the field."""
        return self.cleaned_data


class EditEnvironmentForm(_EnvironmentForm):
    """The details of a registered environment. What two people change at once is merged field by field."""

    name = NameField(label="Environment name")
    address = AddressField(label="Environment address")
    lifetime_address = AddressField(
        label="LifeTime external address", required=False, help_text="How the environment reaches this console."
    )
    token = TokenField(
        label="Token", required=False, help_text="Leave it empty to keep the present one, which is never shown."
    )

    class Meta:
        model = Environment
        fields = registry.EDITABLE
        labels = {
            "two_stage_deployments": "Execute deployments in two stages",
            "mobile_apps_service": "Enable mobile apps service",
            "parallel_deployments": "Enable parallel deployments",
            "parallel_deployment_limit": "Deployments at once, at most",
            "sync_interval": "Seconds between synchronizations",
        }
        help_texts = {
            "two_stage_deployments": "Prepare first, then deploy in a short window.",
            "sync_interval": "15 to 86,400. Trouble makes the console wait longer between its attempts.",
        }

    def __init__(self, *args: Any, is_read_only: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.order_fields(["name", "address", "token", "purpose", "lifetime_address"])
        for name, field in self.fields.items():
            field.show_hidden_initial = name != "token" and not is_read_only
            field.disabled = is_read_only

    @property
    def changes(self) -> dict[str, Any]:
        """What this person changed since the page was loaded."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name in registry.EDITABLE}


class RegisterForm(_EnvironmentForm):
    name = NameField(label="Environment name")
    address = AddressField(
        label="Environment address",
        help_text="Where its Environment API answers, for example https://test.example.com.",
    )
    token = TokenField(label="Token", help_text="Given by the environment. It is kept encrypted and never shown again.")
    lifetime_address = AddressField(
        label="LifeTime external address", required=False, help_text="How the environment reaches this console."
    )

    class Meta:
        model = Environment
        fields = ["name", "address", "purpose", "hosting", "lifetime_address"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.order_fields(["name", "address", "token", "purpose", "hosting", "lifetime_address"])
        hosting = self.fields["hosting"]
        hosting.help_text = "Maintenance mode of a cloud environment is toggled by support staff only."
