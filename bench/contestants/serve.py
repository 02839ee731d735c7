"""Serves a peer's app as our own server would: `python -m bench.contestants.serve MODULE PORT`."""

import sys

import uvicorn

from ratelimiter.server import OPTIONS


def main() -> None:
    """Serve until SIGTERM, in this process: one worker."""
    module, port = sys.argv[1:]
    uvicorn.run(
        f"bench.contestants.{module}:app",
        host="127.0.0.1",
        port=int(port),
        http="httptools",  # ours has a protocol of its own, which is a part of ours
        **OPTIONS,
    )


if __name__ == "__main__":
    main()
