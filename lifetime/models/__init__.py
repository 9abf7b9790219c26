from lifetime.models.api import ApiCall, ApiQuota, Download, DownloadKind, DownloadPart, DownloadStatus
from lifetime.models.levels import Level, RoleLevel
from lifetime.models.logins import LoginCounter
from lifetime.models.people import Role, Theme, User
from lifetime.models.service_accounts import ServiceAccount, ServiceToken
from lifetime.models.teams import ApplicationRole, Team, TeamApplication, TeamMembership

__all__ = [
    "ApiCall",
    "ApiQuota",
    "ApplicationRole",
    "Download",
    "DownloadKind",
    "DownloadPart",
    "DownloadStatus",
    "Level",
    "LoginCounter",
    "Role",
    "RoleLevel",
    "ServiceAccount",
    "ServiceToken",
    "Team",
    "TeamApplication",
    "TeamMembership",
    "Theme",
    "User",
]
