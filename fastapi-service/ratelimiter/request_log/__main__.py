"""Runs the drains by themselves, without the API: ``python -m ratelimiter.request_log``."""

import argparse
import gc
import os
import signal
import threading
from queue import SimpleQueue
from time import monotonic
from typing import Final

from prometheus_client import start_http_server

from ratelimiter import logs
from ratelimiter.settings import DrainSettings, load_settings

from .drain import Retention, start_drains

STOP_SECONDS: Final = 1.5
"""How long a transaction may still take once a stop is asked for; cut off, it is copied again."""
GC_THRESHOLD: Final = 50_000
_STDIN: Final = 0


def main() -> None:
    """Drain every shard until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m ratelimiter.request_log", description=__doc__)
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="as the server's child: stop when standard input ends; the API's /metrics has the counters",
    )
    is_child = parser.parse_args().until_stdin_closes
    settings = load_settings(DrainSettings)
    logs.configure(settings.log_level)
    # Records come by the thousand, live for one transaction and form no cycles: to look for some took a
    # third of the time.
    gc.set_threshold(GC_THRESHOLD)
    # Not an event: whose lock this thread may hold at the moment that a signal's handler would set it.
    asked_to_stop: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.put(None))
    if is_child:
        threading.Thread(target=_stop_at_end_of_stdin, args=(asked_to_stop,), daemon=True).start()
    elif settings.drain_metrics_port is not None:
        start_http_server(settings.drain_metrics_port, settings.api_host)
    stop = threading.Event()
    threads = start_drains(
        settings.redis_url.get_secret_value(),
        settings.api_database_url.get_secret_value(),
        settings.redis_shards,
        Retention(settings.request_log_retention_days, settings.request_log_require_archive),
        stop,
    )
    asked_to_stop.get()
    stop.set()
    deadline = monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))


def _stop_at_end_of_stdin(asked_to_stop: "SimpleQueue[None]") -> None:
    # Not sys.stdin: a thread that waits in its buffer would disturb the interpreter's end.
    try:
        while os.read(_STDIN, 4096):
            pass
    finally:
        asked_to_stop.put(None)


if __name__ == "__main__":
    main()
