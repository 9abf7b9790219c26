"""What a new environment holds: believable applications, further along in development than in production."""

import random
from typing import Any

from environments.platform.applications import key_of, module_key_of, version_key_of
from environments.platform.canonical import canonical

VERSION = "11.28.1.4402"
PURPOSES = ("Development", "Test", "Production")

# name, kind, url path, description, modules, version in development, test and production
APPLICATIONS: list[tuple[str, str, str, str, list[str], tuple[str, str, str]]] = [
    ("Customer Portal", "WebResponsive", "CustomerPortal", "Customers see orders, invoices and tickets.",
     ["CustomerPortal", "CustomerPortal_CW", "CustomerPortal_BL"], ("3.4.0", "3.4.0", "3.3.2")),
    ("Back Office", "WebResponsive", "BackOffice", "Staff handle orders and master data.",
     ["BackOffice", "BackOffice_CW"], ("2.11.0", "2.10.1", "2.10.1")),
    ("Field Service", "Mobile", "FieldService", "Technicians work through the day's visits, offline too.",
     ["FieldService", "FieldService_Sync"], ("1.9.0", "1.8.3", "1.8.3")),
    ("Order Service", "Service", "", "Takes, prices and tracks orders.",
     ["OrderService_CS", "OrderService_API"], ("5.0.1", "5.0.1", "4.9.0")),
    ("Payment Service", "Service", "", "Talks to the payment provider.",
     ["PaymentService_CS", "PaymentService_IS"], ("1.2.0", "1.2.0", "1.2.0")),
    ("Document Service", "Service", "", "Renders and archives documents.",
     ["DocumentService_CS", "PdfTools"], ("0.8.0", "0.7.0", "0.7.0")),
    ("Design System", "Library", "", "Blocks, patterns and the theme of all applications.",
     ["DesignSystem"], ("4.1.0", "4.1.0", "4.0.5")),
    ("Users", "Service", "Users", "Manages application users.", ["Users"], ("11.28.1", "11.28.1", "11.28.1")),
]  # fmt: skip
SUBJECTS = (
    "Claims", "Billing", "Inventory", "Shipping", "Recruiting", "Training", "Contracts", "Fleet", "Energy", "Booking",
    "Quality", "Loyalty", "Procurement", "Support", "Travel", "Research",
)  # fmt: skip
SORTS = (
    ("Portal", "WebResponsive"), ("Service", "Service"), ("App", "Mobile"), ("Console", "WebResponsive"),
    ("Library", "Library"),
)  # fmt: skip
PEOPLE = ("Ana Ferreira", "Jonas Weber", "Priya Nair", "Tomás Silva", "Wei Chen")
COLOURS = ("#1a73e8", "#188038", "#b3261e", "#7b1fa2", "#e37400", "#00695c")
PREVIEWS = [
    {"key": "mobile-update-distribution", "name": "Distribution of mobile app updates",
     "description": "Devices get new versions without a store."},
    {"key": "parallel-compilation", "name": "Parallel compilation", "description": "Modules compile side by side."},
    {"key": "structured-logs", "name": "Structured logs", "description": "Logs are written as JSON lines."},
]  # fmt: skip


EXTENSIBILITY = {"preferences": {"global": [{"name": "DisallowOverscroll", "value": "true"}]}}
ELEMENTS: dict[str, list[tuple[str, str]]] = {
    "OrderService_CS": [("GetOrder", "Action"), ("ListOrders", "Action"), ("Order", "Entity")],
    "PaymentService_CS": [("Authorize", "Action"), ("Capture", "Action")],
    "DocumentService_CS": [("RenderPdf", "Action"), ("Archive", "Action")],
    "DesignSystem": [("Layout", "Block"), ("Button", "Block"), ("Theme", "Theme")],
    "Users": [("GetUser", "Action"), ("User", "Entity")],
    "CustomerPortal_BL": [("PriceFor", "Action")],
}
USES: dict[str, list[tuple[str, str, list[str]]]] = {
    "CustomerPortal": [("Design System", "DesignSystem", ["Layout", "Button"]),
                       ("Customer Portal", "CustomerPortal_BL", ["PriceFor"])],
    "CustomerPortal_BL": [("Order Service", "OrderService_CS", ["GetOrder", "ListOrders"]),
                          ("Users", "Users", ["GetUser"])],
    "BackOffice": [("Design System", "DesignSystem", ["Layout"]), ("Order Service", "OrderService_CS", ["GetOrder"]),
                   ("Document Service", "DocumentService_CS", ["RenderPdf"])],
    "FieldService": [("Order Service", "OrderService_CS", ["ListOrders"])],
    "OrderService_CS": [("Payment Service", "PaymentService_CS", ["Authorize", "Capture"])],
}  # fmt: skip


def _parts() -> dict[str, dict[str, Any]]:
    """By module name, what the believable applications consist of."""
    parts: dict[str, dict[str, Any]] = {}
    for module, elements in ELEMENTS.items():
        produced = [{"name": name, "kind": kind, "signature": "1"} for name, kind in elements]
        parts.setdefault(module, {})["produces"] = produced
    for module, used in USES.items():
        parts.setdefault(module, {})["consumes"] = [
            {
                "module_key": str(module_key_of(application, producer)),
                "module_name": producer,
                "application_key": str(key_of(application)),
                "application_name": application,
                "elements": [one for one in parts[producer]["produces"] if one["name"] in names],
            }
            for application, producer, names in used
        ]
    parts["BackOffice"]["site_properties"] = [
        _property("PageSize", "Rows of a list.", "Integer", "50"),
        _property("SupportAddress", "Where mail of customers goes.", "Text", "support@example.com"),
        _property("MaintenanceBanner", "Shows a banner on every page.", "Boolean", "False"),
    ]
    parts["PaymentService_IS"] = {
        "site_properties": [_property("ApiKey", "Of the payment provider.", "Text", "test-key", is_secret=True)],
        "endpoints": [{"name": "PaymentApi", "kind": "REST", "default_url": "https://payments.example.com/v2"}],
    }
    parts["OrderService_CS"]["timers"] = [{"name": "CloseOldOrders", "default_schedule": "0 3 * * *"}]
    parts["OrderService_CS"]["processes"] = [{"name": "OrderApproval", "signature": "1"}]
    return parts


def _property(name: str, description: str, data_type: str, default: str, *, is_secret: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "data_type": data_type,
        "default_value": default,
        "is_secret": is_secret,
    }


PARTS = _parts()


def documents(name: str, purpose: str) -> dict[str, bytes]:
    """Every document but the applications."""
    values: dict[str, Any] = {
        "facts": {
            "name": name,
            "purpose": purpose,
            "version": VERSION,
            "number_of_front_ends": 1,
            "application_server": "Uvicorn",
            "application_server_type": ".NET",
            "database_provider": "SQLite",
            "deployment_zones": [{"key": str(key_of("zone Global")), "name": "Global", "is_default": True}],
        },
        "permissions": {"roles": [], "users": [], "teams": []},
        "settings": {
            "name": name,
            "lifetime_address": "",
            "two_stage_deployments": False,
            "mobile_apps_service": True,
            "parallel_deployments": False,
            "parallel_deployment_limit": 1,
        },
        "security": {
            "hsts": purpose == "Production",
            "force_https_screens": purpose == "Production",
            "force_https_integrations": purpose == "Production",
            "secure_cookies": purpose == "Production",
            "same_site": "Lax",
            "remoting_protection": False,
            "content_security_policy": {"enabled": False, "directives": {"default-src": ["'self'"]}},
        },
        "technical-previews": {"available": PREVIEWS, "enabled": []},
        "authentication": {"mode": "built_in", "configuration": {}},
    }
    return {document: canonical(value) for document, value in values.items()}


def applications(purpose: str, *, count: int | None = None, modules: int | None = None) -> list[dict[str, Any]]:
    """The first `count` applications; the same name always has the same keys."""
    stage = PURPOSES.index(purpose)
    values = []
    for index in range(len(APPLICATIONS) if count is None else count):
        name, kind, url_path, description, names, versions = _description(index)
        if modules is not None:
            names = [names[0], *(f"{names[0]}_{number:02d}" for number in range(2, modules + 1))]
        values.append(_application(index, name, kind, url_path, description, names, versions[stage], stage))
    return values


def _description(index: int) -> tuple[str, str, str, str, list[str], tuple[str, str, str]]:
    if index < len(APPLICATIONS):
        return APPLICATIONS[index]
    number = index - len(APPLICATIONS)
    subject, (sort, kind) = SUBJECTS[number % len(SUBJECTS)], SORTS[number // len(SUBJECTS) % len(SORTS)]
    series = number // (len(SUBJECTS) * len(SORTS))
    name = f"{subject} {sort}" + (f" {series + 1}" if series else "")
    joined = name.replace(" ", "")
    version = f"1.{number % 17}.{number % 5}"
    path = joined if kind in ("WebResponsive", "Mobile") else ""
    return name, kind, path, f"{subject} for everybody who needs it.", [joined, f"{joined}_CS"], (version,) * 3


def _application(
    index: int, name: str, kind: str, url_path: str, description: str, names: list[str], version: str, stage: int
) -> dict[str, Any]:
    chance = random.Random(f"{name} {version}")  # noqa: S311 - only to vary dates and people
    changed_at = f"2026-{chance.randint(1, 10):02d}-{chance.randint(1, 28):02d}T{chance.randint(7, 18):02d}:{chance.randint(0, 59):02d}:00.000000Z"  # noqa: E501
    changed_by = chance.choice(PEOPLE)
    is_modified = stage == 0 and index % 4 == 1
    outdated = stage == 0 and index % 8 == 5
    message = "Consumes an outdated version of Design System." if outdated else ""
    version_key = str(version_key_of(name, version))
    return {
        "key": str(key_of(name)),
        "name": name,
        "kind": kind,
        "description": description,
        "url_path": url_path,
        "is_system": name == "Users",
        "version": version,
        "version_key": version_key,
        "is_modified": is_modified,
        "changed_at": changed_at,
        "changed_by": changed_by,
        "consistency": "Warning" if outdated else "",
        "consistency_message": message,
        "modules": [
            {
                "key": str(module_key_of(name, module)),
                "name": module,
                "kind": "Extension" if module == "PdfTools" else "eSpace",
                "description": "",
                "version_key": str(module_key_of(name, f"{module} {version}")),
                "hash": f"{chance.getrandbits(128):032x}",
                "is_modified": is_modified and module == names[0],
                "changed_at": changed_at,
                "changed_by": changed_by,
                "consistency": "Warning" if outdated and module == names[0] else "",
                "consistency_message": message if module == names[0] else "",
            }
            for module in names
        ],
        "team_key": None,
        "colour": COLOURS[index % len(COLOURS)],
    }
