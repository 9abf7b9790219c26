"""The tabs and sub-menus of the console. A new page is one line here; pages that do not exist yet are left out."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import NoReverseMatch, ResolverMatch, reverse

from environments.models import Environment, Hosting
from lifetime import policy
from lifetime.models import User
from lifetime.policy import Action


@dataclass(frozen=True)
class Page:
    name: str
    url_name: str
    action: Action
    covers: tuple[str, ...] = ()  # further URL names, or whole namespaces, that belong to this page

    @property
    def url(self) -> str:
        return reverse(self.url_name)

    def exists(self) -> bool:
        try:
            return bool(self.url)
        except NoReverseMatch:
            return False

    def is_current(self, match: ResolverMatch | None) -> bool:
        if match is None:
            return False
        return match.view_name == self.url_name or match.view_name in self.covers or match.namespace in self.covers


@dataclass(frozen=True)
class Tab:
    name: str
    pages: tuple[Page, ...]
    name_with_cloud: str = ""  # what it is called as soon as an environment is in the cloud

    def named(self) -> str:
        if self.name_with_cloud and Environment.objects.registered().filter(hosting=Hosting.CLOUD).exists():
            return self.name_with_cloud
        return self.name


def _people_page(name: str, url_name: str, action: Action, *covers: str) -> Page:
    return Page(name, f"lifetime:{url_name}", action, covers=tuple(f"lifetime:{one}" for one in covers))


TABS = (
    Tab(
        "Applications",
        (
            Page(
                "Applications",
                "applications:list",
                Action.VIEW_APPLICATIONS,
                covers=("applications", "lifetime:application-roles", "lifetime:set-application-role"),
            ),
            Page("Deployment Plans", "plans:list", Action.VIEW_APPLICATIONS, covers=("plans",)),
        ),
    ),
    Tab(
        "Infrastructure",
        (
            Page("Environments", "environments:list", Action.VIEW_INFRASTRUCTURE, covers=("environments",)),
            Page("Blocked Addresses", "settings:blocked-addresses", Action.MANAGE_PEOPLE, covers=("settings:blocked",)),
            Page(
                "Database Connections",
                "settings:database-connections",
                Action.MANAGE_DATABASES,
                covers=("settings:databases", "settings:add-database", "settings:edit-database"),
            ),
            Page("Technical Preview", "settings:previews", Action.VIEW_INFRASTRUCTURE),
            Page("Audit Logs", "audit:events", Action.VIEW_AUDIT_LOG, covers=("audit",)),
        ),
        name_with_cloud="Environments",
    ),
    Tab(
        "User Management",
        (
            _people_page("Users", "users", Action.MANAGE_PEOPLE, "user", "create-user"),
            _people_page("Teams", "teams", Action.MANAGE_TEAMS, "team", "create-team", "set-team-member"),
            _people_page("Roles", "roles", Action.MANAGE_PEOPLE, "role", "create-role"),
            _people_page(
                "Service Accounts",
                "service-accounts",
                Action.MANAGE_PEOPLE,
                "service-account",
                "create-service-account",
                "issue-token",
            ),
            Page(
                "Authentication Settings",
                "settings:authentication",
                Action.MANAGE_PEOPLE,
                covers=("settings:provider", "settings:create-provider"),
            ),
        ),
    ),
    Tab("Plugins", (Page("Plugins", "settings:plugins", Action.VIEW_APPLICATIONS),)),
)


@dataclass(frozen=True)
class Entry:
    """A tab or a sub-menu entry as this person sees it on this page."""

    name: str
    url: str
    is_current: bool
    entries: tuple["Entry", ...] = ()


def entries(user: User, match: ResolverMatch | None) -> Iterator[Entry]:
    """The tabs this person may open, each with its sub-menu."""
    for tab in TABS:
        pages = [page for page in tab.pages if page.exists() and policy.may(user, page.action)]
        if pages:
            below = tuple(Entry(page.name, page.url, page.is_current(match)) for page in pages)
            yield Entry(tab.named(), below[0].url, any(entry.is_current for entry in below), below)


def first_page(user: User) -> str:
    """Where a person lands after logging in."""
    return next((entry.url for entry in entries(user, None)), reverse("lifetime:settings"))
