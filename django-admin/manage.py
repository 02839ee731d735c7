#!/usr/bin/env python
"""Django's command line for the admin service."""

import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError

from config.startup import load_settings

if __name__ == "__main__":
    load_settings()
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as exc:
        sys.exit(f"django-admin: the database: {' '.join(str(exc).split())}")
