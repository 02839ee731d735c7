"""Closed-loop load by wrk: as many requests as are answered, on connections that stay open.

wrk gets a script with one formatted request per key and sends them in turn. There is no `response`
callback: wrk would call it for each answer and be slower for it. wrk counts the statuses above 399 by
itself, and `done` prints its exact numbers once, rather than the rounded ones of its summary.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

OK = 200
LIMITED = 429
PATH = "/api/request"
_MARK = "result: "
_SCRIPT = """\
local requests, number = {}, 0
local body = BODY
local headers = {}  -- wrk adds the length of the body, also of an empty one
if #body > 0 then headers["content-type"] = "application/json" end

function init()
  for index, key in ipairs({ KEYS }) do
    headers["x-api-key"] = key
    requests[index] = wrk.format("POST", "PATH", headers, body)
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'MARK{"requests": %d, "duration_us": %d, "refused": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk brought; `refused` are answers with a status above 399, `broken` has no answer."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def requests_per_second(self) -> float:
        """What was answered, by time."""
        return self.requests / self.seconds


def require_wrk() -> None:
    """Raise `BenchError` with the one line that helps, unless wrk is there."""
    if shutil.which("wrk") is None:
        raise BenchError("The load comes from wrk, which is not installed: apt-get install wrk")


def script(keys: Sequence[str], body: str) -> str:
    """Wrk's script: a request for each key, in turn."""
    listed = ", ".join(json.dumps(key) for key in keys)
    text = _SCRIPT.replace("BODY", json.dumps(body)).replace("PATH", PATH).replace("MARK", _MARK)
    return text.replace("KEYS", listed)


def parse(output: str) -> Load:
    """Read what the script's `done` printed. Raises `BenchError` when it did not."""
    for line in output.splitlines():
        if line.startswith(_MARK):
            result = json.loads(line.removeprefix(_MARK))
            return Load(
                requests=result["requests"],
                seconds=result["duration_us"] / 1e6,
                refused=result["refused"],
                broken=result["broken"],
                p50_ms=result["p50_us"] / 1000,
                p99_ms=result["p99_us"] / 1000,
            )
    raise BenchError(f"wrk printed no result:\n{output}")


def require_expected(load: Load, status: int, who: str) -> None:
    """Raise `BenchError` unless all answers are the expected ones: a failure is fast, and proves nothing."""
    if load.requests == 0:
        raise BenchError(f"{who} answered no request.")
    if load.broken:
        raise BenchError(f"{who}: {load.broken} of {load.requests} requests had no answer.")
    expected = load.requests if status == LIMITED else 0
    if load.refused != expected:
        raise BenchError(
            f"{who}: {load.refused} of {load.requests} answers had a status above 399, not {expected}."
        )


def run_wrk(url: str, script_file: Path, connections: int, seconds: float) -> Load:
    """Load a server for whole seconds."""
    duration = max(1, round(seconds))
    command = [
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={duration}s",
        "--timeout=5s",
    ]
    done = subprocess.run(  # noqa: S603  # our own arguments
        [*command, f"--script={script_file}", url],
        capture_output=True,
        text=True,
        check=False,
        timeout=duration + 30,
    )
    if done.returncode != 0:
        raise BenchError(f"wrk ended with exit code {done.returncode}: {done.stderr.strip()}")
    return parse(done.stdout)
