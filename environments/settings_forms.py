"""Forms about what environments are given. Their rules are in the domain modules; forms read what was typed."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from environments import authentication, security
from environments.database_details import Wanted, parameters_of, written
from environments.environment_api import DatabaseConnection, DatabaseProvider
from environments.models import AuthenticationProvider, Environment
from environments.models.delivery import BY_KIND
from lifetime import local_passwords

QUIET = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}
HELP = {
    "hsts": "Browsers use HTTPS only. Takes effect when modules are republished.",
    "force_https_screens": "Screens asked for by HTTP are redirected to HTTPS.",
    "force_https_integrations": "Exposed web services answer by HTTPS only.",
    "secure_cookies": "Browsers send cookies by HTTPS only.",
    "same_site": "Whether browsers send cookies with requests that other sites cause. None needs secure cookies.",
    "remoting_protection": "Requests of screens to the server are checked more strictly.",
}


class LinesField(forms.CharField):
    """One value per line."""

    widget = forms.Textarea(attrs={"rows": 2, "class": "code", **QUIET})

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, strip=False, max_length=20_000, **options)

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n").strip("\n")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.to_python(initial) != self.to_python(data)


class SecurityForm(forms.Form):
    """The security settings. What two people change at once is merged setting by setting."""

    def __init__(self, environment: Environment, data: Any = None, *, is_read_only: bool = False) -> None:
        super().__init__(data)
        now = security.effective(environment)
        policy, shown = now["content_security_policy"], security.directives(environment)
        self._was_enabled = policy["enabled"]
        for name, label in security.SWITCHES.items():
            if name == "same_site":
                choices = [(value, value) for value in security.SAME_SITE]
                self.fields[name] = forms.ChoiceField(label=label, choices=choices, help_text=HELP[name])
            else:
                self.fields[name] = forms.BooleanField(label=label, required=False, help_text=HELP[name])
            self.initial[name] = now[name]
        self.fields["csp_enabled"] = forms.BooleanField(
            label=f"Send a {security.CSP}",
            required=False,
            help_text="Browsers load only what the directives allow. Takes effect when modules are republished.",
        )
        self.initial["csp_enabled"] = policy["enabled"]
        for name, required in security.REQUIRED.items():
            text = f"Always with {' and '.join(required)}." if required else ""
            self.fields[name] = LinesField(label=name, help_text=text)
            self.initial[name] = "\n".join(shown.get(name, []))
        self.fields["other"] = LinesField(
            label="Other directives", help_text="One directive per line, for example: worker-src 'self' blob:"
        )
        others = (" ".join([name, *values]) for name, values in shown.items() if name not in security.REQUIRED)
        self.initial["other"] = "\n".join(others)
        for field in self.fields.values():
            field.show_hidden_initial = not is_read_only
            field.disabled = is_read_only

    @property
    def switches(self) -> list[forms.BoundField]:
        return [self[name] for name in security.SWITCHES]

    @property
    def directives(self) -> list[forms.BoundField]:
        return [self[name] for name in [*security.REQUIRED, "other"]]

    def clean(self) -> dict[str, Any]:
        for name in security.REQUIRED:
            try:
                self.cleaned_data[name] = security.clean_values(name, self.cleaned_data.get(name, "").split("\n"))
            except ValidationError as refusal:
                self.add_error(name, refusal)
        try:
            self.cleaned_data["other"] = security.clean_other(self.cleaned_data.get("other", "").split("\n"))
        except ValidationError as refusal:
            self.add_error("other", refusal)
        return self.cleaned_data

    @property
    def changes(self) -> dict[str, Any]:
        """What this person changed since the page was loaded; with the policy switched on, all its directives."""
        changed = set(self.changed_data)
        if self.cleaned_data["csp_enabled"] and not self._was_enabled:
            changed.update(security.REQUIRED, ["other"])
        directives: dict[str, list[str]] = {
            name: self.cleaned_data[name] for name in security.REQUIRED if name in changed
        }
        if "other" in changed:
            loaded = str(self.data.get(self.add_initial_prefix("other"), self.initial["other"]))
            directives.update({line.split()[0]: [] for line in loaded.splitlines() if line.strip()})
            directives.update(self.cleaned_data["other"])
        settings = {name: self.cleaned_data[name] for name in (*security.SWITCHES, "csp_enabled") if name in changed}
        return {**settings, **({"directives": directives} if directives else {})}


def add_errors(form: forms.Form, refusal: ValidationError) -> None:
    """Put a refusal of the domain beside the fields that it names, the rest above the form."""
    told: Mapping[str, Any] = refusal.error_dict if hasattr(refusal, "error_dict") else {}
    for name, errors in told.items():
        form.add_error(name if name in form.fields else None, errors)
    if not told:
        form.add_error(None, refusal)


class SecretField(forms.CharField):
    """A secret: written, never shown."""

    widget = forms.PasswordInput(attrs={**QUIET, "autocomplete": "new-password"})

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, strip=False, **{"label": "Secret", **options})


class ProviderForm(forms.Form):
    """A configuration of external authentication, of one mode."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs=QUIET))

    def __init__(
        self, mode: str, data: Any = None, *, provider: AuthenticationProvider | None = None, is_read_only: bool = False
    ) -> None:
        super().__init__(data)
        values = provider.configuration if provider else {"scopes": list(authentication.REQUIRED_SCOPES)}
        chosen = BY_KIND if self.data.get("client_ids") == BY_KIND else ONE
        for name, label in authentication.LABELS[mode].items():
            self.fields[name] = _provider_field(name, label)
            if self.is_bound and SHOWN_FOR.get(name, chosen) != chosen:
                self.fields[name].required = False
            self.initial[name] = values.get(name, PROVIDER_DEFAULTS.get(name, ""))
        label = "Client secret" if mode == authentication.Mode.OIDC else "Bind password"
        keeps = (
            "Leave it empty to keep the present one, which is never shown; another address needs it anew."
            if provider
            else "It is never shown again."
        )
        self.fields["secret"] = SecretField(label=label, help_text=f"At most 100 characters. {keeps}")
        if provider:
            self.initial["name"] = provider.name
        for field in self.fields.values():
            field.disabled = is_read_only

    @property
    def rows(self) -> list[tuple[forms.BoundField, str]]:
        """The fields, with the choice of client IDs for which alone they are shown."""
        return [(field, SHOWN_FOR.get(field.name, "")) for field in self]

    @property
    def configuration(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name not in ("name", "secret")}


ONE = "one"
SHOWN_FOR = {
    "client_id": ONE,
    **{f"client_id_{one}": BY_KIND for one in ("development", "test", "production", "console")},
}
PROVIDER_DEFAULTS = {"client_ids": ONE, "username_claim": "email", "username_attribute": "uid"}
PROVIDER_HELP = {
    "well_known_url": "For example https://login.example.com/.well-known/openid-configuration",
    "client_id_console": "With which this console itself logs people in; the test says when it uses another one.",
    "username_claim": "What the username is in the environments.",
    "address": "For example ldaps://ldap.example.com:636",
    "base_dn": "Where people are, for example ou=people,dc=example,dc=com",
    "bind_dn": "Who searches for people; empty for an anonymous search.",
    "username_attribute": "What people type to log in, for example uid.",
}


def _provider_field(name: str, label: str) -> forms.Field:
    if name == "client_ids":
        choices = [(ONE, "The same one everywhere"), (BY_KIND, "Another one for each kind of environment")]
        return forms.ChoiceField(label=label, choices=choices, widget=forms.RadioSelect, required=False)
    if name == "scopes":
        choices = [(one, one) for one in authentication.SCOPES]
        return forms.MultipleChoiceField(
            label=label,
            choices=choices,
            widget=forms.CheckboxSelectMultiple,
            required=False,
            help_text="openid, email and profile are always asked for.",
        )
    return forms.CharField(
        label=label,
        required=name not in ("bind_dn", "client_id_console"),
        help_text=PROVIDER_HELP.get(name, ""),
        widget=forms.TextInput(attrs=QUIET),
    )


class ActivateForm(forms.Form):
    """In the dialog: the secret, where it is not stored yet or shall be another one."""

    def __init__(self, provider: AuthenticationProvider, data: Any = None) -> None:
        super().__init__(data, auto_id="dialog-%s")
        label = "Client secret" if provider.mode == authentication.Mode.OIDC else "Bind password"
        keeps = "Leave it empty to keep the stored one. " if provider.sealed_secret else ""
        self.fields["secret"] = SecretField(label=label, help_text=f"{keeps}At most 100 characters.")
        count = local_passwords.to_clear().count()
        people = "1 person loses theirs" if count == 1 else f"{count:,} people lose theirs"
        reason = authentication.refusal_to_clear(provider)
        self.fields["clear_passwords"] = forms.BooleanField(
            label="Clear local passwords",
            required=False,
            disabled=bool(reason) and data is None,  # what was ticked is refused, not passed over
            help_text=reason or f"{people}; support staff and superusers keep them, for when the provider fails.",
        )


class PluginForm(forms.Form):
    """An existing plugin to register."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs=QUIET))
    entry_point = forms.CharField(
        max_length=300,
        widget=forms.TextInput(attrs={"inputmode": "url", **QUIET}),
        help_text="Where it begins, for example https://development.example.com/Board",
    )
    developer = forms.CharField(max_length=120, widget=forms.TextInput(attrs=QUIET))
    for_managers_only = forms.BooleanField(
        required=False, label="Shown only to people who manage the infrastructure and users"
    )


class NewPluginForm(forms.Form):
    """A plugin to create: its name. The environment is chosen by button."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs=QUIET))


class DatabaseForm(forms.Form):
    """A connection to a database, new or as it is changed."""

    connection = forms.UUIDField(required=False, widget=forms.HiddenInput)
    revision = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=50,
        widget=forms.TextInput(attrs=QUIET),
        help_text="A letter, then letters, digits and underscores. Applications know it by this name.",
    )
    provider = forms.ChoiceField()
    parameters = LinesField(help_text="One per line, as name=value. Below is what each provider takes.")
    username = forms.CharField(required=False, widget=forms.TextInput(attrs=QUIET))
    password = SecretField(label="Password")
    description = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(
        self,
        providers: Sequence[DatabaseProvider],
        data: Any = None,
        *,
        connection: DatabaseConnection | None = None,
        is_read_only: bool = False,
    ) -> None:
        super().__init__(data)
        self.providers = providers
        choices = {one.key: one.name for one in providers}
        text = "It goes to the environment and is never shown."
        if connection:
            choices.setdefault(connection.provider, connection.provider)
            self.initial = {
                **connection.model_dump(include={"name", "provider", "username", "description", "revision"}),
                "connection": connection.key,
                "parameters": written(connection.parameters, between="\n"),
            }
            if connection.has_password:
                text = (
                    "Leave it empty to keep the stored one, which is never shown; "
                    "another provider, username or parameter needs it anew."
                )
        provider, password = self.fields["provider"], self.fields["password"]
        assert isinstance(provider, forms.ChoiceField)  # noqa: S101 - for the type checker
        provider.choices = list(choices.items())
        needed = [any(parameter.is_required for parameter in one.parameters) for one in providers]
        self.fields["parameters"].required = all(needed)
        password.help_text = text
        for field in self.fields.values():
            field.disabled = is_read_only

    @property
    def wanted(self) -> Wanted:
        """Raises ValidationError by field."""
        given = self.cleaned_data
        return Wanted(
            name=given["name"],
            provider=given["provider"],
            description=given["description"],
            username=given["username"],
            parameters=parameters_of(given["parameters"]),
            password=given["password"] or None,
        )

    @property
    def problems(self) -> list[str]:
        """What is wrong, for where the form itself is not shown again."""
        return [
            f"{self.fields[name].label or name.capitalize()}: {text}" if name in self.fields else str(text)
            for name, texts in self.errors.items()
            for text in texts
        ]
