"""gunicorn's configuration, read from the working directory; its command line overrides it."""

import os

from config.logs import logging_config

wsgi_app = "config.wsgi:application"
bind = "127.0.0.1:8001"
workers = 2
worker_class = "gthread"
threads = 4
# Loaded before the workers fork: a missing setting ends the master with its one line, once.
preload_app = True
control_socket_disable = True
logconfig_dict = logging_config(os.environ.get("LOG_LEVEL", "info"))
