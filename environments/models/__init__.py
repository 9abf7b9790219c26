from environments.models.application import Application, ApplicationStatus, Module, ModuleStatus
from environments.models.contact import Contact, Outcome, Purpose
from environments.models.delivery import AuthenticationProvider, TechnicalPreview
from environments.models.environment import Environment, EnvironmentPurpose, Hosting, Registration
from environments.models.environment_filter import EnvironmentFilter
from environments.models.maintenance import MaintenanceWindow, RefusedOperation, WindowStatus
from environments.models.sync import SyncRun, SyncState, SyncStatus, SyncTrigger

__all__ = [
    "Application",
    "ApplicationStatus",
    "AuthenticationProvider",
    "Contact",
    "Environment",
    "EnvironmentFilter",
    "EnvironmentPurpose",
    "Hosting",
    "MaintenanceWindow",
    "Module",
    "ModuleStatus",
    "Outcome",
    "Purpose",
    "RefusedOperation",
    "Registration",
    "SyncRun",
    "SyncState",
    "SyncStatus",
    "SyncTrigger",
    "TechnicalPreview",
    "WindowStatus",
]
