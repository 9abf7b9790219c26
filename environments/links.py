"""Addresses outside of the console where an application is looked at: its pages, Service Center, Service Studio."""

from urllib.parse import quote, urlsplit

from django.conf import settings

from environments.models import Application, Environment
from environments.models.application import ApplicationKind

WITH_PAGES = (ApplicationKind.WEB, ApplicationKind.MOBILE)


def has_pages(application: Application) -> bool:
    """Whether there is something of it to look at in a browser."""
    return application.kind in WITH_PAGES and bool(application.url_path.strip("/"))


def pages(environment: Environment, application: Application) -> str:
    return f"{environment.address}/{quote(application.url_path.strip('/'))}/"


def configuration(environment: Environment, application: Application) -> str:
    return _filled(settings.SERVICE_CENTER_LINK, environment, application)


def service_center_logs(environment: Environment, application: Application) -> str:
    return _filled(settings.SERVICE_CENTER_LOGS_LINK, environment, application)


def service_studio(environment: Environment, application: Application) -> str:
    return _filled(settings.SERVICE_STUDIO_LINK, environment, application)


def _filled(pattern: str, environment: Environment, application: Application) -> str:
    return pattern.format(
        address=environment.address,
        host=urlsplit(environment.address).netloc,
        key=application.key,
        name=quote(application.name, safe=""),
    )
