"""The permission model as environments shall have it: roles with their levels there, users, teams, application roles.

Only the levels differ among environments. All else is written by the database, in canonical JSON, and kept by this
process until a row has changed: with thousands of users, writing it for each page and each batch would be most of the
work of a synchronization that finds nothing changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from django.db import connection

from environments.environment_api import canonical
from environments.models import Environment
from lifetime.models import Role
from lifetime.permissions import Ladder, Rights

DIGESTS_KEPT = 5_000

# One statement, so all of it is of one instant. `version` tells apart any two states of what the texts say; not by who
# wrote the rows when, which a log-in changes and a database that was set back repeats.
# The texts are written only when the version is not the known one; `to_json` of a text escapes what Python's json
# escapes, and nothing else.
READ = """
WITH version AS MATERIALIZED (
    SELECT concat_ws('/',
        (SELECT concat(count(*), ' ', sum(hash_record_extended((id, key), 0))) FROM lifetime_role),
        (SELECT concat(count(*), ' ', sum(hash_record_extended(
            (id, key, username, name, email, is_active, role_id), 0))) FROM lifetime_user),
        (SELECT concat(count(*), ' ', sum(hash_record_extended((id, key, name), 0))) FROM lifetime_team),
        (SELECT concat(count(*), ' ', sum(hash_record_extended((team_id, user_id, role_id), 0)))
         FROM lifetime_teammembership),
        (SELECT concat(count(*), ' ', sum(hash_record_extended((o.team_id, a.key), 0)))
         FROM lifetime_teamapplication o JOIN environments_application a ON a.id = o.application_id),
        (SELECT concat(count(*), ' ', sum(hash_record_extended((g.id, g.user_id, a.key, g.role_id), 0)))
         FROM lifetime_applicationrole g JOIN environments_application a ON a.id = g.application_id)
    ) AS told
)
SELECT told,
    CASE WHEN told <> %(known)s THEN (
        SELECT coalesce(string_agg(format('{"application_key":"%%s","role_key":"%%s","user_key":"%%s"}',
                                          a.key, r.key, u.key), ',' ORDER BY g.id), '')
        FROM lifetime_applicationrole g JOIN environments_application a ON a.id = g.application_id
        JOIN lifetime_role r ON r.id = g.role_id JOIN lifetime_user u ON u.id = g.user_id
    ) END,
    CASE WHEN told <> %(known)s THEN (
        WITH members AS (
            SELECT m.team_id, string_agg(format('{"role_key":"%%s","user_key":"%%s"}', r.key, u.key),
                                         ',' ORDER BY m.user_id) AS text
            FROM lifetime_teammembership m JOIN lifetime_role r ON r.id = m.role_id
            JOIN lifetime_user u ON u.id = m.user_id GROUP BY m.team_id
        ), applications AS (
            SELECT o.team_id, string_agg(format('"%%s"', a.key), ',' ORDER BY a.key) AS text
            FROM lifetime_teamapplication o JOIN environments_application a ON a.id = o.application_id
            GROUP BY o.team_id
        )
        SELECT coalesce(string_agg(format('{"applications":[%%s],"key":"%%s","members":[%%s],"name":%%s}',
                                          applications.text, t.key, members.text, to_json(t.name)),
                                   ',' ORDER BY t.id), '')
        FROM lifetime_team t LEFT JOIN members ON members.team_id = t.id
        LEFT JOIN applications ON applications.team_id = t.id
    ) END,
    CASE WHEN told <> %(known)s THEN (
        SELECT coalesce(string_agg(format(
            '{"email":%%s,"is_active":%%s,"key":"%%s","name":%%s,"role_key":"%%s","username":%%s}',
            to_json(u.email), to_json(u.is_active), u.key, to_json(u.name), r.key, to_json(u.username)
        ), ',' ORDER BY u.id), '')
        FROM lifetime_user u JOIN lifetime_role r ON r.id = u.role_id
    ) END
FROM version
"""


@dataclass(frozen=True)
class People:
    """All of the model but the roles, as what stands before and after these in the canonical form."""

    version: str
    before: bytes
    after: bytes
    digests: dict[bytes, str] = field(default_factory=dict)  # of the whole, by the digest of the roles

    def around(self, roles: bytes) -> tuple[bytes, bytes, bytes]:
        return self.before, roles, self.after

    def digest(self, roles: bytes) -> str:
        """The digest of the whole model with these roles."""
        key = sha256(roles).digest()
        found = self.digests.get(key)
        if found is None:
            whole = sha256(self.before)
            whole.update(roles)
            whole.update(self.after)
            if len(self.digests) >= DIGESTS_KEPT:
                self.digests.clear()
            found = self.digests[key] = "sha256:" + whole.hexdigest()
        return found


_kept = People("", b"", b"")


def people() -> People:
    """As they are now, which costs a look at the rows; they are written anew only when one of these has changed."""
    global _kept
    known = _kept
    with connection.cursor() as cursor:
        cursor.execute(READ, {"known": known.version})
        version, granted, teams, users = cursor.fetchone()
    if version == known.version:
        return known
    found = People(
        version,
        before=f'{{"application_roles":[{granted}],"roles":'.encode(),
        after=f',"teams":[{teams}],"users":[{users}]}}'.encode(),
    )
    _kept = found  # another thread may have done so meanwhile; each knows of which version its texts are
    return found


class PermissionModel:
    """The whole model for each of some environments. Service accounts are left out: they log in nowhere else."""

    def __init__(self, environments: Iterable[Environment]) -> None:
        self._roles = list(Role.objects.order_by("pk"))
        self._ladder = Ladder(self._roles, environments)
        self._people = people()
        self._written: dict[tuple[int, Rights], bytes] = {}

    def body(self, environment: Environment) -> tuple[tuple[bytes, ...], str]:
        """The pieces of the body, which environments share as far as they are alike, and its digest."""
        roles = b"[" + b",".join([self._role(role, self._ladder.of(role, environment)) for role in self._roles]) + b"]"
        return self._people.around(roles), self._people.digest(roles)

    def _role(self, role: Role, rights: Rights) -> bytes:
        found = self._written.get((role.pk, rights))
        if found is None:
            found = self._written[role.pk, rights] = canonical(
                {
                    "key": str(role.key),
                    "name": role.name,
                    "level": int(rights.level),
                    "create_applications": rights.create_applications,
                    "add_system_dependencies": rights.add_system_dependencies,
                }
            )
        return found
