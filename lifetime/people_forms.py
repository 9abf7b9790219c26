"""Forms of the tab User Management. They read what was typed; the domain modules decide and word the refusals."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils import timezone

from environments.forms import DialogForm
from environments.models import Application, Environment
from lifetime import people, roles, service_accounts, teams
from lifetime.changes import Refused
from lifetime.models import Level, Role, ServiceAccount, Team, User
from lifetime.permissions import Ladder, Permissions, Rights

PLAIN = {"autocomplete": "off", "spellcheck": "false"}
NEW_PASSWORD = "At least 12 characters, among them a digit, a lower-case and an upper-case letter."  # noqa: S105
MOST_CHOICES = 1000


def add_refusal(form: forms.BaseForm, refusal: Refused) -> None:
    """Show a refusal at the field it is about."""
    form.add_error(refusal.field if refusal.field in form.fields else None, str(refusal))


def _roles() -> QuerySet[Role]:
    return Role.objects.order_by("name", "pk")


class _MergingForm(forms.Form):
    """Two people who edit at once do not undo each other: only what this one changed since loading is a change."""

    editable: tuple[str, ...] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.initial:
            for name in self.editable:
                self.fields[name].show_hidden_initial = True

    @property
    def changes(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in self.changed_data if name in self.editable}


class SearchForm(forms.Form):
    """The filter of the list of users."""

    name = forms.CharField(
        label="Name, username or e-mail", required=False, max_length=150, widget=forms.TextInput({"type": "search"})
    )
    role = forms.ModelChoiceField(
        _roles(), label="Default role", required=False, empty_label="Any", to_field_name="key"
    )
    state = forms.ChoiceField(
        label="State", required=False, choices=[("", "Any"), ("active", "Active"), ("inactive", "Inactive")]
    )


class UserForm(_MergingForm):
    editable = people.EDITABLE

    name = forms.CharField(max_length=150, widget=forms.TextInput(PLAIN))
    username = forms.CharField(max_length=150, widget=forms.TextInput({**PLAIN, "autocapitalize": "none"}))
    email = forms.EmailField(label="E-mail address", max_length=254, widget=forms.EmailInput(PLAIN))
    role = forms.ModelChoiceField(_roles(), label="Default role", empty_label=None)
    is_active = forms.BooleanField(
        label="Active", required=False, help_text="Inactive people cannot log in, here or in any environment."
    )
    password = forms.CharField(
        required=False,
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text=NEW_PASSWORD,
    )
    repeat_password = forms.CharField(
        required=False, strip=False, max_length=4096, widget=forms.PasswordInput({"autocomplete": "new-password"})
    )

    def __init__(self, *args: Any, user: User | None = None, **options: Any) -> None:
        if user is not None:
            options["initial"] = {name: getattr(user, name) for name in self.editable}
        super().__init__(*args, **options)
        if user is None:
            self.fields["is_active"].initial = True
            self.fields["role"].initial = Role.objects.developer()
        else:
            self.fields["password"].label = "New password"
            self.fields["password"].help_text = f"Empty: it stays as it is. {NEW_PASSWORD}"
            self.fields["repeat_password"].label = "Repeat new password"

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if cleaned.get("password", "") != cleaned.get("repeat_password", ""):
            self.add_error("repeat_password", "This differs from the password.")
        return cleaned


class RoleForm(_MergingForm):
    editable = roles.EDITABLE

    name = forms.CharField(max_length=100, widget=forms.TextInput(PLAIN))
    description = forms.CharField(max_length=500, required=False, widget=forms.TextInput(PLAIN))
    manage_infrastructure_and_users = forms.BooleanField(
        label="Manage Infrastructure and Users",
        required=False,
        help_text="Environments, maintenance mode, users, roles and service accounts. It includes the right below.",
    )
    manage_teams_and_application_roles = forms.BooleanField(
        label="Manage Teams and Application Roles",
        required=False,
        help_text="As a role in a team or on an application it holds for that one only.",
    )
    confirmed = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, role: Role | None = None, **options: Any) -> None:
        if role is not None:
            options["initial"] = {name: getattr(role, name) for name in self.editable}
        super().__init__(*args, **options)
        if role is not None and role.is_built_in:
            self.fields["name"].widget.attrs["readonly"] = True
            self.fields["name"].help_text = "Built in: it keeps its name."
        if role is not None and role.is_administrator:
            for field in self.fields.values():
                field.disabled = True


class LevelForm(forms.Form):
    """One environment's step of the ladder, with its two flags."""

    level = forms.ChoiceField(choices=Level.choices)
    create_applications = forms.BooleanField(required=False)
    add_system_dependencies = forms.BooleanField(required=False)

    def __init__(
        self, data: Mapping[str, Any] | None, *, environment: Environment, rights: Rights, frozen: bool
    ) -> None:
        initial = {
            "level": int(rights.level),
            "create_applications": rights.create_applications,
            "add_system_dependencies": rights.add_system_dependencies,
        }
        super().__init__(data, prefix=f"environment-{environment.pk}", initial=initial)
        self.environment = environment
        for field in self.fields.values():
            field.show_hidden_initial = not frozen
            field.disabled = frozen

    @property
    def rights(self) -> Rights:
        return Rights(**{**self.cleaned_data, "level": Level(int(self.cleaned_data["level"]))})

    @property
    def steps(self) -> Iterable[tuple[Level, bool]]:
        """Each level, and whether it is the chosen one."""
        chosen = str(self["level"].value())
        return [(level, str(int(level)) == chosen) for level in Level]


def level_forms(
    data: Mapping[str, Any] | None, role: Role | None, environments: Iterable[Environment], *, frozen: bool = False
) -> list[LevelForm]:
    """The ladder of a role, or of a new one, in pipeline order. An environment that the data lacks stays as it is."""
    environments = list(environments)
    shown = role or Role()
    ladder = Ladder([role] if role else [], environments)
    return [
        LevelForm(
            data if data is not None and f"environment-{one.pk}-level" in data else None,
            environment=one,
            rights=ladder.of(shown, one),
            frozen=frozen,
        )
        for one in environments
    ]


class DeleteRoleForm(DialogForm):
    replacement = forms.ModelChoiceField(
        _roles(), label="Role they get instead", required=False, empty_label="Choose a role", to_field_name="key"
    )

    def __init__(self, *args: Any, role: Role, is_used: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        if is_used:
            others = self.fields["replacement"]
            others.queryset = _roles().exclude(pk=role.pk)  # type: ignore[attr-defined]
        else:
            del self.fields["replacement"]


class TeamForm(_MergingForm):
    editable = teams.EDITABLE

    name = forms.CharField(max_length=100, widget=forms.TextInput(PLAIN))
    description = forms.CharField(max_length=500, required=False, widget=forms.TextInput(PLAIN))

    def __init__(self, *args: Any, team: Team | None = None, **options: Any) -> None:
        if team is not None:
            options["initial"] = {name: getattr(team, name) for name in self.editable}
        super().__init__(*args, **options)


class MemberForm(forms.Form):
    """Somebody by username, as the list offers it, and a role."""

    user = forms.CharField(label="Username", max_length=150)
    role = forms.ModelChoiceField(_roles(), label="Role", empty_label="Choose a role", to_field_name="key")

    def __init__(self, *args: Any, suggestions: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["user"].widget.attrs.update(
            {
                **PLAIN,
                "autocapitalize": "none",
                "list": "people",
                "hx-get": suggestions,
                "hx-trigger": "input changed delay:250ms",
                "hx-target": "#people",
                "hx-params": "user",
                "hx-sync": "this:replace",
            }
        )

    def clean_user(self) -> User:
        typed = self.cleaned_data["user"].strip()
        user = User.objects.select_related("role").filter(username__iexact=typed).first()
        if user is None:
            raise forms.ValidationError(f"Nobody has the username {typed}. Choose from the list that appears.")
        return user


class ApplicationsForm(forms.Form):
    """Applications without a team."""

    applications = forms.ModelMultipleChoiceField(
        Application.objects.none(),
        label="Applications without a team",
        to_field_name="key",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one application."},
    )

    def __init__(self, *args: Any, by: User, **options: Any) -> None:
        super().__init__(*args, **options)
        free = Application.objects.order_by("name", "pk")
        if not by.manages_teams:  # only those that this person manages already
            free = free.filter(pk__in=Permissions.of(by, []).managed_applications)
        field = self.fields["applications"]
        # A posted application that got a team meanwhile is refused in better words by the domain.
        field.queryset = free if self.is_bound else free.filter(in_team__isnull=True)[:MOST_CHOICES]  # type: ignore[attr-defined]


class ServiceAccountForm(_MergingForm):
    editable = service_accounts.EDITABLE

    username = forms.CharField(max_length=150, widget=forms.TextInput({**PLAIN, "autocapitalize": "none"}))
    description = forms.CharField(max_length=500, required=False, widget=forms.TextInput(PLAIN))
    role = forms.ModelChoiceField(_roles(), label="Role", empty_label="Choose a role")
    is_active = forms.BooleanField(
        label="Active", required=False, help_text="The tokens of an inactive account open nothing."
    )

    def __init__(self, *args: Any, account: ServiceAccount | None = None, **options: Any) -> None:
        if account is not None:
            options["initial"] = {name: getattr(account, name) for name in self.editable}
        super().__init__(*args, **options)
        if account is None:
            del self.fields["is_active"]


class TokenForm(forms.Form):
    newest = forms.IntegerField(required=False, min_value=0, widget=forms.HiddenInput)
    expires_at = forms.DateField(
        label="Expires on",
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        help_text="At the end of that day in your time zone; empty: never. Five years at most.",
        error_messages={"invalid": "Write the date as year-month-day, for example 2027-11-23."},
    )

    def clean_expires_at(self) -> datetime | None:
        day: date | None = self.cleaned_data["expires_at"]
        if day is None:
            return None
        return datetime.combine(day, time(23, 59, 59), tzinfo=timezone.get_current_timezone())
