"""The web's entry point. A web process has threads and never forks, so it may pool its database connections."""

import os
from importlib import import_module

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
os.environ.setdefault("LIFETIME_DATABASE_POOL", "on")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()
import_module("lifetime.api.routes")  # takes a second, which the first call of the API need not wait for
