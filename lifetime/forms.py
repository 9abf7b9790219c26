"""Forms about people. Their rules are in the domain modules; forms only read what was typed."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.forms.renderers import TemplatesSetting

from lifetime.models import User

REGIONS = {"Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"}


class Renderer(TemplatesSetting):
    """Every form of the console looks the same (settings.FORM_RENDERER)."""

    form_template_name = "lifetime/_form.html"
    field_template_name = "lifetime/_field.html"


class LoginForm(forms.Form):
    username = forms.CharField(
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none", "autofocus": True}),
    )
    password = forms.CharField(
        strip=False, max_length=4096, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )


def _time_zones() -> list[tuple[str, str]]:
    """Regions people know; the list of old synonyms (`US/Eastern`, `GB`) stays out of sight."""
    names = sorted(name for name in available_timezones() if name.partition("/")[0] in REGIONS)
    return [("", "As the browser says"), ("UTC", "UTC"), *((name, name.replace("_", " ")) for name in names)]


class PreferencesForm(forms.ModelForm[User]):
    time_zone = forms.ChoiceField(
        required=False,
        choices=_time_zones,
        help_text="Times are shown in this zone; hover over one to see the exact instant.",
    )

    class Meta:
        model = User
        fields = ["time_zone", "theme"]
        widgets = {"theme": forms.RadioSelect}


class ThemeForm(forms.ModelForm[User]):
    class Meta:
        model = User
        fields = ["theme"]


class ChangePasswordForm(forms.Form):
    current_password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    new_password = forms.CharField(
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters, among them a digit, a lower-case and an upper-case letter.",
    )
    repeat_new_password = forms.CharField(
        strip=False, max_length=4096, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_current_password(self) -> str:
        typed: str = self.cleaned_data["current_password"]
        if not self.user.check_password(typed):
            raise ValidationError("This is not your current password.")
        return typed

    def clean_new_password(self) -> str:
        typed: str = self.cleaned_data["new_password"]
        password_validation.validate_password(typed, self.user)
        return typed

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        new, repeated = cleaned.get("new_password"), cleaned.get("repeat_new_password")
        if new and repeated and new != repeated:
            self.add_error("repeat_new_password", "This differs from the new password.")
        return cleaned
