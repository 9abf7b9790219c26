"""Forms of registering an environment: roles and permissions there, and users to import."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django import forms

from environments.models import Environment
from environments.newcomers import Choice, Newcomer
from lifetime.models import Role
from lifetime.people_forms import LevelForm
from lifetime.permissions import Rights

PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class RoleLevelForm(LevelForm):
    """One role's step of the ladder in the environment."""

    def __init__(self, data: Mapping[str, Any] | None, *, role: Role, environment: Environment, rights: Rights) -> None:
        super().__init__(data, environment=environment, rights=rights, frozen=role.is_administrator)
        self.prefix = f"role-{role.pk}"
        self.role = role


def role_level_forms(
    data: Mapping[str, Any] | None, environment: Environment, levels: Iterable[tuple[Role, Rights]]
) -> list[RoleLevelForm]:
    """A role that the data lacks stays as it is."""
    return [
        RoleLevelForm(
            data if data is not None and f"role-{role.pk}-level" in data else None,
            role=role,
            environment=environment,
            rights=rights,
        )
        for role, rights in levels
    ]


class NewcomerForm(forms.Form):
    """One row of the users to import."""

    is_chosen = forms.BooleanField(required=False, label="Import")
    email = forms.CharField(
        required=False, max_length=254, label="E-mail address", widget=forms.EmailInput({**PLAIN, "class": "input"})
    )
    role = forms.ChoiceField(label="Role")

    def __init__(self, data: Mapping[str, Any] | None, *, newcomer: Newcomer, roles: Sequence[Role]) -> None:
        initial = {"is_chosen": newcomer.is_chosen, "email": newcomer.email, "role": str(newcomer.role.key)}
        super().__init__(data, prefix=newcomer.id, initial=initial)
        self.newcomer = newcomer
        self._roles = {str(role.key): role for role in roles}
        self.fields["role"].choices = [(key, role.name) for key, role in self._roles.items()]  # type: ignore[attr-defined]
        for name, field in self.fields.items():
            field.widget.attrs["aria-label"] = f"{LABELS[name]} {newcomer.name}"

    @property
    def choice(self) -> Choice:
        values = self.cleaned_data
        return Choice(is_chosen=values["is_chosen"], email=values["email"].strip(), role=self._roles[values["role"]])


LABELS = {"is_chosen": "Import", "email": "E-mail address of", "role": "Role of"}


def newcomer_forms(
    data: Mapping[str, Any] | None, newcomers: Iterable[Newcomer], roles: Sequence[Role]
) -> list[NewcomerForm]:
    """The rows of people who can be imported. One that the data lacks stays as it is."""
    return [
        NewcomerForm(data if data is not None and f"{one.id}-role" in data else None, newcomer=one, roles=roles)
        for one in newcomers
        if not one.trouble
    ]
