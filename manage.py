#!/usr/bin/env python
"""Entry point of every administrative command; `manage.py help` lists them."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error

from lifetime import outage
from lifetime.database import NotAvailable

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lifetime.settings")
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, NotAvailable) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Error as error:
        if not (text := outage.explain(error)):
            raise
        sys.exit(text)
