from environments.models.application import Application, ApplicationStatus, Module, ModuleStatus
from environments.models.contact import Contact, Outcome, Purpose
from environments.models.delivery import AuthenticationProvider, TechnicalPreview
from environments.models.environment import Environment, EnvironmentPurpose, Hosting, Registration
from environments.models.maintenance import MaintenanceWindow, RefusedOperation, WindowStatus
from environments.models.sync import SyncRun, SyncState, SyncStatus, SyncTrigger

__all__ = [
    "Application",
    "ApplicationStatus",
    "AuthenticationProvider",
    "Contact",
    "Environment",
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
