"""Measures the service beside its peers: all in one run on one machine, in turn, round after round.

From the bottom up:

- `errors`, `ratios`, `processes` (CPU per process), `load` (wrk), `open_loop` (a fixed rate): how is
  measured.
- `stack` (ours: servers, database, keys), `contestants` (the peers' apps), `contestant`: who is measured.
- `parts`: what is measured, a module each; `fill` makes a million buckets for one of them.
- `targets`, `report`, `chart`, `machine`: what came out. `check`: the short form, for CI. `screen`:
  progress.

Absolute figures say little: PostgreSQL, Redis and the load share the machine with the contestant. What
counts is the median of the ratios of each round, of requests a second and of CPU seconds per request;
`README.md` says more.

An answer that was not expected, a connection that broke or a server that ended stops the run with an error:
a failure is quick, and would look like speed.
"""

import sys
from pathlib import Path

# The service is not installed as a package; the peers run in processes of their own, and come by here too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fastapi-service"))
