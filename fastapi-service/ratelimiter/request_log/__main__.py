"""Runs the drains by themselves, without the API: ``python -m ratelimiter.request_log``."""

import signal
import threading

from prometheus_client import start_http_server

from ratelimiter import logs
from ratelimiter.settings import DrainSettings, load_settings

from .drain import start_drains


def main() -> None:
    """Drain every shard until SIGTERM or SIGINT."""
    settings = load_settings(DrainSettings)
    logs.configure(settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if settings.drain_metrics_port is not None:
        start_http_server(settings.drain_metrics_port, settings.api_host)
    threads = start_drains(
        settings.redis_url.get_secret_value(),
        settings.api_database_url.get_secret_value(),
        settings.redis_shards,
        settings.request_log_retention_days,
        stop,
    )
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
