"""Forms about applications. Their rules are in the domain modules; forms only read what was typed."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils.html import escape, format_html

from environments import (
    application_creation,
    application_security,
    application_settings,
    icons,
    security,
    tag_bases,
    tagging,
)
from environments.application_settings import Changes, Setting
from environments.environment_api import Template
from environments.forms import DialogForm, ReasonField
from environments.models import ApplicationSecurity, ApplicationSettings, Environment, EnvironmentFilter
from environments.settings_forms import LinesField
from environments.templatetags.applications import swatch
from lifetime.models import Team


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
    """A version to tag: of the application as it is, or of an older version, with modules of others.

    For a mobile application with the numbers that the stores show.
    """

    base_version = forms.ChoiceField(
        label="Based on",
        required=False,
        help_text="To go back, tag an older version again and deploy that: the application here stays as it is.",
    )
    version = forms.CharField(max_length=40, help_text="One to three numbers with dots between them, like 4.2.")
    change_log = forms.CharField(
        label="Description",
        required=False,
        max_length=tagging.LONGEST_CHANGE_LOG,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What changed since the last version.",
    )

    def __init__(self, *args: Any, proposal: tagging.Proposal, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["version"].widget.attrs.update(
            {"autocomplete": "off", "inputmode": "decimal", "autofocus": proposal.base is None}
        )
        self.fields["base_version"].choices = [  # type: ignore[attr-defined]
            ("", "The application as it is now"),
            *((str(one.key), one.version) for one in proposal.bases),
        ]
        self.initial.setdefault("base_version", str(proposal.base.key) if proposal.base else "")
        self.initial.setdefault("version", proposal.suggestion)
        self._modules = proposal.modules
        kept = f"as in {proposal.base.version}" if proposal.base else tag_bases.NOW
        for module in proposal.modules:
            self.fields[f"pick-{module.key}"] = forms.ChoiceField(
                label=module.name, required=False, choices=[("", f"Not picked: {kept}"), *module.versions]
            )
        self._mobile = proposal.mobile
        for platform, highest in proposal.mobile.items():
            self.fields[f"{platform.lower()}_version"] = forms.CharField(
                label=f"{platform} version number",
                required=False,
                max_length=40,
                help_text=f"Higher than {highest}." if highest else "It must rise with every version.",
                widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "decimal"}),
            )

    @property
    def picks(self) -> list[forms.BoundField]:
        return [self[f"pick-{module.key}"] for module in self._modules]

    @property
    def are_picked(self) -> bool:
        """Whether the picks have to be seen."""
        return any(field.errors or (self.is_bound and field.value()) for field in self.picks)

    @property
    def others(self) -> list[forms.BoundField]:
        return [self["change_log"], *(self[f"{platform.lower()}_version"] for platform in self._mobile)]

    @property
    def wanted(self) -> tagging.Wanted:
        data = self.cleaned_data
        return tagging.Wanted(
            version=data["version"],
            change_log=data["change_log"],
            base_version_key=UUID(data["base_version"]) if data["base_version"] else None,
            module_picks={
                str(module.key): picked for module in self._modules if (picked := data[f"pick-{module.key}"])
            },
            mobile_versions=[
                {"platform": platform, "version": number}
                for platform in self._mobile
                if (number := data[f"{platform.lower()}_version"])
            ],
        )


class BlockForm(DialogForm):
    reason = ReasonField(label="Reason", help_text="One line of at most 500 characters; it goes into the audit log.")


class SettingsForm(forms.Form):
    """The settings of an application as it was last read; `changes` tells what somebody changed."""

    digest = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)

    def __init__(self, found: ApplicationSettings, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["digest"].initial = found.digest
        self.settings = application_settings.settings_of(found)
        self._extensibility = found.document.get("extensibility") or {}
        for number, setting in enumerate(self.settings):
            self._add(number, setting)
        custom = self._extensibility.get("custom")
        start = self._extensibility.get("default", {}) if custom is None else custom
        self.fields["mode"] = forms.ChoiceField(
            label="Extensibility configuration",
            choices=[("default", "Default, from the home module"), ("custom", "Custom JSON")],
            initial=self._extensibility.get("mode", "default"),
            widget=forms.RadioSelect,
        )
        self.fields["custom"] = forms.CharField(
            label="Custom JSON",
            required=False,
            initial=json.dumps(start, indent=2, ensure_ascii=False),
            widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "code"}),
            help_text="It begins as a copy of the default and takes effect with the next mobile build.",
        )

    def _add(self, number: int, setting: Setting) -> None:
        attributes = {"autocomplete": "off", "spellcheck": "false"}
        label = f"{setting.name} of {setting.module}"
        if setting.is_secret:
            widget: forms.Widget = forms.PasswordInput(attrs={**attributes, "autocomplete": "new-password"})
            help_text = "Secret. Leave it empty to keep the value, which is never shown."
        else:
            widget = forms.TextInput(attrs=attributes)
            help_text = setting.description
        self.fields[f"value-{number}"] = forms.CharField(
            label=label,
            required=False,
            strip=False,
            max_length=4000,
            initial=None if setting.is_secret else setting.effective,
            widget=widget,
            help_text=escape(help_text),
        )
        self.fields[f"default-{number}"] = forms.BooleanField(
            label=f"Use the default for {label}", required=False, initial=setting.effective is None
        )

    @property
    def rows(self) -> list[tuple[Setting, forms.BoundField, forms.BoundField]]:
        return [(one, self[f"value-{n}"], self[f"default-{n}"]) for n, one in enumerate(self.settings)]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        for number, setting in enumerate(self.settings):
            value = cleaned.get(f"value-{number}", "")
            shown = "" if setting.is_secret else setting.effective
            if cleaned.get(f"default-{number}") and setting.effective is not None and value not in ("", shown):
                self.add_error(f"value-{number}", "Either the default or a value of its own: untick the default.")
        if cleaned.get("mode") == "custom":
            try:
                cleaned["custom"] = application_settings.clean_extensibility(cleaned.get("custom", ""))
            except ValidationError as refusal:
                self.add_error("custom", refusal)
        return cleaned

    @property
    def changes(self) -> Changes:
        values: dict[str, str | None] = {}
        for number, setting in enumerate(self.settings):
            value: str = self.cleaned_data[f"value-{number}"]
            is_default = self.cleaned_data[f"default-{number}"]
            if is_default and setting.effective is None and value:
                is_default = False  # somebody typed a value, and did not think of the tick that was there before
            if is_default:
                if setting.effective is not None:
                    values[setting.id] = None
            elif setting.is_secret:
                if value:
                    values[setting.id] = value
            elif value != setting.effective:
                values[setting.id] = value
        return Changes(values=values, extensibility=self._changed_extensibility())

    def _changed_extensibility(self) -> dict[str, Any] | None:
        mode = self.cleaned_data["mode"]
        before = self._extensibility
        if mode == "default":
            return None if before.get("mode", "default") == "default" else {"mode": "default"}
        if before.get("mode") == "custom" and before.get("custom") == self.cleaned_data["custom"]:
            return None
        return {"mode": "custom", "custom": self.cleaned_data["custom"]}


class ApplicationSecurityForm(forms.Form):
    """The security settings of an application's own, as they were last read."""

    digest = forms.CharField(required=False, max_length=100, widget=forms.HiddenInput)

    def __init__(self, environment: Environment, found: ApplicationSecurity, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        own, theirs = found.document["content_security_policy"], security.effective(environment)
        forced = found.document["force_https_screens"]
        self.fields["digest"].initial = found.digest
        inherited = f"As {environment.name} has it"
        self.fields["force_https"] = forms.ChoiceField(
            label=application_security.HTTPS,
            choices=[
                ("", f"{inherited}: {'on' if theirs['force_https_screens'] else 'off'}"),
                ("on", "On"),
                ("off", "Off"),
            ],
            required=False,
            initial="" if forced is None else "on" if forced else "off",
            widget=forms.RadioSelect,
        )
        self.fields["policy"] = forms.ChoiceField(
            label=application_security.CSP,
            choices=[
                ("", f"{inherited}: {'on' if theirs['content_security_policy']['enabled'] else 'off'}"),
                (application_security.OWN, "A policy of its own, with the directives below"),
                (application_security.OFF, "No policy"),
            ],
            required=False,
            initial="" if own is None else application_security.OWN if own["enabled"] else application_security.OFF,
            widget=forms.RadioSelect,
        )
        shown = own["directives"] if own and own["enabled"] else security.directives(environment)
        for name, required in security.REQUIRED.items():
            text = f"Always with {' and '.join(required)}." if required else ""
            lines = "\n".join(shown.get(name, []))
            self.fields[name] = LinesField(label=name, help_text=text, initial=lines)
        others = (" ".join([name, *values]) for name, values in shown.items() if name not in security.REQUIRED)
        self.fields["other"] = LinesField(
            label="Other directives",
            help_text="One directive per line, for example: worker-src 'self' blob:",
            initial="\n".join(others),
        )

    @property
    def directives(self) -> list[forms.BoundField]:
        return [self[name] for name in [*security.REQUIRED, "other"]]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if cleaned.get("policy") != application_security.OWN:
            return cleaned
        for name in security.REQUIRED:
            try:
                cleaned[name] = security.clean_values(name, cleaned.get(name, "").split("\n"))
            except ValidationError as refusal:
                self.add_error(name, refusal)
        try:
            cleaned["other"] = security.clean_other(cleaned.get("other", "").split("\n"))
        except ValidationError as refusal:
            self.add_error("other", refusal)
        return cleaned

    @property
    def wanted(self) -> dict[str, Any]:
        """The document; raises ValidationError when its policy lacks what pages need."""
        data = self.cleaned_data
        policy: str = data["policy"]
        directives: dict[str, list[str]] = {}
        if policy == application_security.OWN:
            directives = {**{name: data[name] for name in security.REQUIRED}, **data["other"]}
        forced = {"on": True, "off": False}.get(data["force_https"])
        return application_security.wanted(force_https=forced, policy=policy, directives=directives)


class CreateApplicationForm(forms.Form):
    """A new application for a team."""

    team = forms.ModelChoiceField(Team.objects.none(), to_field_name="key", empty_label=None)
    template = forms.ChoiceField(label="What are you building?", widget=forms.RadioSelect)
    name = forms.CharField(
        max_length=application_creation.LONGEST_NAME, widget=forms.TextInput({"autocomplete": "off"})
    )
    description = forms.CharField(required=False, max_length=5000, widget=forms.Textarea({"rows": 3}))
    palette = forms.ChoiceField(label="Colour", required=False, widget=forms.RadioSelect)
    colour = forms.CharField(
        label="Another colour",
        required=False,
        max_length=7,
        help_text="Stands instead of the one above. Like #1a73e8.",
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "class": "code"}),
    )
    icon = forms.FileField(
        required=False,
        help_text="A PNG, JPEG or WebP picture of at most 256 KB and 1024 × 1024 pixels.",
        widget=forms.FileInput({"accept": "image/png,image/jpeg,image/webp"}),
    )

    def __init__(self, *args: Any, teams: QuerySet[Team], templates: Sequence[Template], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["palette"].choices = [  # type: ignore[attr-defined]
            (colour, format_html("{} {}", swatch(colour), name)) for colour, name in icons.PALETTE.items()
        ]
        self.initial.setdefault("palette", next(iter(icons.PALETTE)))
        self.fields["team"].queryset = teams  # type: ignore[attr-defined]
        self.fields["template"].choices = [  # type: ignore[attr-defined]
            (one.key, f"{one.name}: {one.description}" if one.description else one.name) for one in templates
        ]

    def clean_icon(self) -> icons.Picture | None:
        upload = self.cleaned_data["icon"]
        return icons.clean(upload.read(icons.LARGEST + 1)) if upload else None

    @property
    def wanted(self) -> application_creation.Wanted:
        data = self.cleaned_data
        return application_creation.Wanted(
            template=data["template"],
            name=data["name"],
            description=data["description"],
            colour=data["colour"] or data["palette"],
            icon=data["icon"],
        )
