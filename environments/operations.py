"""What maintenance mode stops: the thirteen operations it disables and the five activities it skips.

This table is the one place that lists them. Pages grey the control and say why, views and the API refuse with the same
words, workers are refused by the gate.
Source: OutSystems' documentation of LifeTime, "Maintenance mode" (What is disabled, What is skipped).
"""

from django.db.models import TextChoices

from environments.models import Environment, MaintenanceWindow


class Operation(TextChoices):
    """Disabled on an environment in maintenance mode; with source and target, on either of them."""

    TAG_APPLICATIONS = "tag_applications", "Tagging applications"
    DEPLOY = "deploy", "Deploying to or from the environment"
    OPERATE_PLANS = "operate_plans", "Operating deployment plans to or from it"
    CHANGE_APPLICATION_SETTINGS = "change_application_settings", "Changing application settings"
    TEST_APPLICATIONS = "test_applications", "Testing applications (Open in Browser, Test)"
    OPEN_SERVICE_CENTER = "open_service_center", "Viewing logs of and configuring applications in Service Center"
    OPEN_SERVICE_STUDIO = "open_service_studio", "Opening applications in Service Studio"
    CREATE_APPLICATIONS = "create_applications", "Creating applications for a team"
    TOGGLE_TECHNICAL_PREVIEWS = "toggle_technical_previews", "Enabling and disabling Technical Preview features"
    CREATE_PLUGINS = "create_plugins", "Creating LifeTime plugins"
    SYNCHRONIZE = "synchronize", "Synchronizing the environment"
    CHANGE_SECURITY_SETTINGS = "change_security_settings", "Changing security settings"
    EDIT_ENVIRONMENT = "edit_environment", "Editing environment details"


class Activity(TextChoices):
    """Skipped for an environment in maintenance mode; each is a part of a synchronization."""

    APPLICATIONS = "applications", "Synchronizing applications"
    PERMISSIONS = "permissions", "Synchronizing IT users and the permission model"
    SETTINGS = "settings", "Synchronizing environment settings"
    TECHNICAL_PREVIEWS = "technical_previews", "Propagating Technical Preview features"
    AUTHENTICATION = "authentication", "Propagating the external authentication configuration"


def refusal(environment: Environment, operation: Operation) -> str:
    """Why this operation is disabled on the environment now, for people; "" when it is not."""
    window = environment.maintenance_window
    return explain(environment.name, window, operation.label) if window else ""


def explain(name: str, window: MaintenanceWindow, what: str) -> str:
    """Who, why, since when, and what to do."""
    until = f", expected until {window.expected_end:%d %b %H:%M} UTC" if window.expected_end else ""
    return (
        f"{what} is disabled: {name} is in maintenance mode since {window.enabled_at:%d %b %H:%M} UTC{until}. "
        f"{window.enabled_by} enabled it: “{window.reason}”. Wait until it is disabled, or ask {window.enabled_by}."
    )
