"""gunicorn's configuration, read from the working directory; its command line overrides it."""

from typing import Any

from django.conf import settings

from config.startup import load_settings, share_metrics

load_settings()  # first of all: a missing or wrong setting ends the master with its one line, once
share_metrics()  # and this before the application is loaded

wsgi_app = "config.wsgi:application"
bind = "127.0.0.1:8001"
workers = 2
worker_class = "gthread"
threads = 4
preload_app = True
control_socket_disable = True
forwarded_allow_ips = settings.ENVIRONMENT.forwarded_allow_ips  # gunicorn's own default is another one
logconfig_dict = settings.LOGGING


def child_exit(_server: Any, worker: Any) -> None:
    """Takes what only a living worker may tell out of the metrics."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415  # after share_metrics

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # not typed there
