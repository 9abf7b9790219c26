"""Settings of the console: one module; what differs per deployment is a `LIFETIME_*` variable or `DATABASE_URL`."""

import logging
import os
from pathlib import Path
from typing import Any

import django_stubs_ext
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from lifetime import database

django_stubs_ext.monkeypatch()  # so that `ModelAdmin[User]` can be written and checked

BASE_DIR = Path(__file__).resolve().parent.parent
# The embedded database, secrets made at the first start, the demo's data, logs.
VAR_DIR = Path(os.environ.get("LIFETIME_VAR", BASE_DIR / "var")).resolve()


def _flag(name: str, *, default: bool = False) -> bool:
    match os.environ.get(name, "").strip().lower():
        case "":
            return default
        case "on" | "true" | "yes" | "1":
            return True
        case "off" | "false" | "no" | "0":
            return False
    raise ImproperlyConfigured(f"{name} has to be on or off.")


def _number(name: str, default: int, *, least: int = 1) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or int(text) < least:
        raise ImproperlyConfigured(f"{name} has to be a whole number from {least}, not {text!r}.")
    return int(text)


def _list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def _secret(name: str) -> str:
    """A secret from the environment. Only a console on the embedded database may make its own, kept under var/."""
    if value := os.environ.get(name):
        return value
    if os.environ.get("DATABASE_URL"):
        raise ImproperlyConfigured(f"Set {name}: a console with its own database needs its own secret.")
    return database.development_secret(VAR_DIR, name)


DEBUG = _flag("LIFETIME_DEBUG")
SECRET_KEY = _secret("LIFETIME_SECRET_KEY")
SECRET_KEY_FALLBACKS = _list("LIFETIME_SECRET_KEY_FALLBACKS")  # former keys, while what they signed is still about
# Encrypts environments' tokens at rest; the first key encrypts, all of them decrypt (rotation).
ENCRYPTION_KEYS = [key.strip() for key in _secret("LIFETIME_ENCRYPTION_KEYS").split(",") if key.strip()]

# HTTP
ALLOWED_HOSTS = _list("LIFETIME_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = _list("LIFETIME_TRUSTED_ORIGINS")
HTTPS = _flag("LIFETIME_HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health/"]  # probes ask the process itself, behind whatever ends TLS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
BEHIND_PROXY = _flag("LIFETIME_BEHIND_PROXY")  # one of ours, which sets X-Forwarded-For and X-Forwarded-Proto
if HTTPS and BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "base-uri": [NONE],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "img-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
    }
}

INSTALLED_APPS = [
    "lifetime",
    "environments",
    "deployments",
    "audit",
    "lifetime.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.forms",
    "csp",
    "django_htmx",
    "django_q",
]

DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # the selection of a plan is one form, however many applications it has

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "lifetime.middleware.LogInFirst",
    "lifetime.middleware.ViewersTimeZone",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "lifetime.refusals.Refusals",
]

ROOT_URLCONF = "lifetime.urls"
WSGI_APPLICATION = "lifetime.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
FORM_RENDERER = "lifetime.forms.Renderer"

# Database: PostgreSQL only. Web processes pool their connections (wsgi.py asks for it); workers fork, and a pool's
# sockets do not survive a fork, so they keep one checked connection each.
DATABASES: dict[str, dict[str, Any]] = {"default": database.configuration(VAR_DIR)}
if _flag("LIFETIME_DATABASE_POOL"):
    # After an outage the pool would wait longer and longer; so it gives up soon, and the next request tries anew.
    pool = {"min_size": 1, "max_size": 8, "timeout": 3, "reconnect_timeout": 3}
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = pool
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # else each connection of before a restart costs somebody a page
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# People
AUTH_USER_MODEL = "lifetime.User"
AUTHENTICATION_BACKENDS = ["lifetime.authentication.Backend"]
# Log-in by OpenID Connect, on when there is an issuer; lifetime/openid.py looks up its endpoints at the first log-in.
OIDC_ISSUER = os.environ.get("LIFETIME_OIDC_ISSUER", "")
OIDC_NAME = os.environ.get("LIFETIME_OIDC_NAME", "single sign-on")  # what the button says
OIDC_RP_CLIENT_ID = os.environ.get("LIFETIME_OIDC_CLIENT_ID", "")
OIDC_RP_CLIENT_SECRET = os.environ.get("LIFETIME_OIDC_CLIENT_SECRET", "")
OIDC_RP_SCOPES = os.environ.get("LIFETIME_OIDC_SCOPES", "openid email profile")
OIDC_RP_SIGN_ALGO = os.environ.get("LIFETIME_OIDC_ALGORITHM", "RS256")
OIDC_USERNAME_CLAIM = os.environ.get("LIFETIME_OIDC_USERNAME_CLAIM", "email")
OIDC_TRUST_EMAIL = _flag("LIFETIME_OIDC_TRUST_EMAIL")  # of a provider that says nothing of `email_verified`
OIDC_CREATE_USER = _flag("LIFETIME_OIDC_CREATE_USERS")
OIDC_USE_PKCE = True
OIDC_TIMEOUT = 10
# Whether providers of external authentication may be on this machine, by http too: for trying things out.
LOOPBACK_PROVIDERS = _flag("LIFETIME_LOOPBACK_PROVIDERS", default=DEBUG)
OIDC_AUTHENTICATION_CALLBACK_URL = "lifetime:openid-callback"
if OIDC_ISSUER:
    AUTHENTICATION_BACKENDS.append("lifetime.openid.Backend")
LOGIN_URL = "lifetime:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "lifetime:login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "lifetime.passwords.MixedCharacters"},
]

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Queue: django-q2 on the database by default, so that a message commits with the change that causes it.
# Each figure was learnt by measuring; docs/queue.md says why.
WORKERS = _number("LIFETIME_WORKERS", 2)
Q_CLUSTER: dict[str, Any] = {
    "name": "lifetime",
    "orm": "default",
    "broker_class": "lifetime.pulse.OrmBroker",
    "workers": WORKERS,
    "queue_limit": WORKERS,
    "bulk": 1,
    "poll": 0.2,
    "timeout": 300,
    "retry": 660,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "catch_up": False,
    "recycle": 2000,
    "label": "Queue",
}
if redis := os.environ.get("LIFETIME_REDIS_URL"):
    del Q_CLUSTER["orm"]
    Q_CLUSTER.update(redis=redis, broker_class="lifetime.redis_broker.RedisBroker")

# Environments
LEASE_SECONDS = 15.0  # how long a silent worker may hold a contact; the longest a dead one delays quiet
CALL_TIMEOUT_SECONDS = 10.0
LEDGER_DAYS = _number("LIFETIME_LEDGER_DAYS", 90)  # for contacts and synchronizations
# Networks that environments may never be in, whatever a name resolves to: link-local and cloud metadata services.
REFUSED_NETWORKS = ["169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "0.0.0.0/32", "::/128"]

# Where links to an application lead: {address} and {host} are the environment's, {key} and {name} the application's.
SERVICE_CENTER_LINK = os.environ.get(
    "LIFETIME_SERVICE_CENTER_LINK", "{address}/ServiceCenter/applications/{key}/settings"
)
SERVICE_CENTER_LOGS_LINK = os.environ.get(
    "LIFETIME_SERVICE_CENTER_LOGS_LINK", "{address}/ServiceCenter/applications/{key}/logs"
)
SERVICE_STUDIO_LINK = os.environ.get("LIFETIME_SERVICE_STUDIO_LINK", "servicestudio://{host}/open/{key}")

# REST API
API_CALLS_PER_MINUTE = _number("LIFETIME_API_CALLS_PER_MINUTE", 3000)  # of one token
API_WAIT_SECONDS = 25.0  # how long a call waits for what a worker does
API_WAITING_CALLS = _number("LIFETIME_API_WAITING_CALLS", 2)  # at most, in one web process
API_LARGEST_UPLOAD = _number("LIFETIME_API_LARGEST_UPLOAD", 1024**3)  # bytes of a package or solution
API_LINK_MINUTES = 60  # how long a link to a download is valid

# Audit
AUDIT_RETENTION_DAYS = _number("LIFETIME_AUDIT_RETENTION_DAYS", 365, least=30)

LOG_LEVEL = os.environ.get("LIFETIME_LOG_LEVEL", "").strip().upper() or "INFO"
if LOG_LEVEL not in logging.getLevelNamesMapping():
    raise ImproperlyConfigured("LIFETIME_LOG_LEVEL has to be DEBUG, INFO, WARNING, ERROR or CRITICAL.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {"django-q": {"level": "WARNING"}},  # else some lines for each task and each beat of the pulse
}
