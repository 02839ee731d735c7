"""Serves a peer's app as our own server would: `python -m bench.contestants.serve MODULE PORT`."""

import sys

import uvicorn

from ratelimiter.server import BACKLOG, SHUTDOWN_SECONDS


def main() -> None:
    """Serve until SIGTERM, in this process: one worker."""
    module, port = sys.argv[1:]
    # The same as in ratelimiter/server.py, but for the protocol: ours is a part of ours.
    uvicorn.run(
        f"bench.contestants.{module}:app",
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
