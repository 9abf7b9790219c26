from environments.models.application import Application, ApplicationStatus, Module, ModuleStatus
from environments.models.application_block import ApplicationBlock
from environments.models.application_icon import ApplicationIcon
from environments.models.application_security import ApplicationSecurity
from environments.models.application_settings import ApplicationSettings
from environments.models.application_task import ApplicationTask, TaskKind, TaskStatus
from environments.models.contact import Contact, Outcome, Purpose
from environments.models.delivery import AuthenticationProvider, ProviderTest, TechnicalPreview
from environments.models.environment import Environment, EnvironmentPurpose, Hosting, Registration
from environments.models.environment_filter import EnvironmentFilter
from environments.models.event import EnvironmentEvent
from environments.models.maintenance import MaintenanceWindow, RefusedOperation, WindowStatus
from environments.models.plugin import Plugin
from environments.models.registration_draft import RegistrationDraft
from environments.models.sync import SyncRun, SyncState, SyncStatus, SyncTrigger
from environments.models.version import ApplicationVersion, ModuleVersion

__all__ = [
    "Application",
    "ApplicationBlock",
    "ApplicationIcon",
    "ApplicationSecurity",
    "ApplicationSettings",
    "ApplicationStatus",
    "ApplicationTask",
    "ApplicationVersion",
    "AuthenticationProvider",
    "Contact",
    "Environment",
    "EnvironmentEvent",
    "EnvironmentFilter",
    "EnvironmentPurpose",
    "Hosting",
    "MaintenanceWindow",
    "Module",
    "ModuleStatus",
    "ModuleVersion",
    "Outcome",
    "Plugin",
    "ProviderTest",
    "Purpose",
    "RefusedOperation",
    "Registration",
    "RegistrationDraft",
    "SyncRun",
    "SyncState",
    "SyncStatus",
    "SyncTrigger",
    "TaskKind",
    "TaskStatus",
    "TechnicalPreview",
    "WindowStatus",
]
