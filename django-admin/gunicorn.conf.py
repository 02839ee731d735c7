"""gunicorn's configuration, read from the working directory; its command line overrides it."""

from django.conf import settings

from config.startup import load_settings

load_settings()  # first of all: a missing or wrong setting ends the master with its one line, once

wsgi_app = "config.wsgi:application"
bind = "127.0.0.1:8001"
workers = 2
worker_class = "gthread"
threads = 4
preload_app = True
control_socket_disable = True
logconfig_dict = settings.LOGGING
