"""A contestant: where it listens, what is sent to it, what it should answer, and what its processes cost."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.instance import Instance
from bench.load import LIMITED, OK, Load, require_expected, run_wrk, script
from bench.processes import Cpu, tree_seconds
from bench.server import process_id, use_once, wait_until_up
from bench.stack import ABUSERS, PROJECT, Stack
from local.child import Child, basic_environment
from local.ports import LOOPBACK, free_port
from local.redis import RedisServer

PEERS: Final = {
    "starlette_empty": "Starlette, empty answer",
    "fastapi_empty": "FastAPI, empty answer",
    "fastapi_response": "FastAPI, empty Response",
    "slowapi": "FastAPI + slowapi",
    "fastapi_limiter": "FastAPI + fastapi-limiter",
    "limits": "FastAPI + limits, sliding window",
    "limits_fixed": "FastAPI + limits, fixed window",
    "throttled": "FastAPI + throttled-py",
}
"""The contestants that are not ours, and what they are called."""
OURS: Final = {
    "ours": "ours, complete",
    "ours_json": "ours, complete, JSON body",
    "flood": "ours, flood of 429, 1 000 keys",
    "flood_10": "ours, flood of 429, 10 keys",
}
LABELS: Final = PEERS | OURS
JSON_BODY: Final = '{"endpoint": "/v1/orders", "cost": 1}'
_WARM_SECONDS: Final = 1.0
_WARM_CONNECTIONS: Final = 32
_WARM_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Sample:
    """One contestant's share of a round. `settle_seconds`: how long the drain worked on after the load."""

    load: Load
    cpu_us: Cpu
    settle_seconds: float

    def as_json(self) -> dict[str, Any]:
        """What goes into the results."""
        return {
            **asdict(self.load),
            "requests_per_second": self.load.requests_per_second,
            "cpu_us": asdict(self.cpu_us),
            "settle_seconds": self.settle_seconds,
        }


@dataclass(frozen=True)
class Contestant:
    """One of those that are measured in turn."""

    name: str
    url: str
    keys: Sequence[str] = field(repr=False)
    script_file: Path
    cpu: Callable[[], Cpu]
    settle: Callable[[], float] = lambda: 0.0
    errors: Callable[[], float] = lambda: 0.0
    status: int = OK
    body: str = ""

    def warm_up(self) -> None:
        """Use every key once, then load it for a moment. Raises `BenchError` on an unexpected answer."""
        self.script_file.parent.mkdir(parents=True, exist_ok=True)
        self.script_file.write_text(script(self.keys, self.body), encoding="utf-8")
        # The first request of a key that is to be denied spends its only token.
        for expected in ({OK},) if self.status == OK else ({OK, LIMITED}, {LIMITED}):
            statuses = use_once(self.url, self.keys, self.body)
            if not statuses <= expected:
                raise BenchError(f"{self.name} answered {sorted(statuses)}, not {sorted(expected)}.")
        for attempt in range(1, _WARM_ATTEMPTS + 1):
            load = run_wrk(self.url, self.script_file, _WARM_CONNECTIONS, _WARM_SECONDS)
            self.settle()
            try:
                require_expected(load, self.status, self.name)
            except BenchError:
                # A worker that none of the single requests reached is still cold.
                if attempt == _WARM_ATTEMPTS:
                    raise
            else:
                return

    def measure(self, connections: int, seconds: float) -> Sample:
        """Load it; what its processes used counts until nothing is left to do."""
        errors, before = self.errors(), self.cpu()
        load = run_wrk(self.url, self.script_file, connections, seconds)
        settled = self.settle()
        used = self.cpu() - before
        require_expected(load, self.status, self.name)
        if self.errors() != errors:
            raise BenchError(f"{self.name} counted {self.errors() - errors:.0f} errors.")
        return Sample(load, used.per_request_us(load.requests), settled)


class Peers:
    """Starts peers, each a process of its own, and the Redis they share."""

    def __init__(self, stack: Stack, exits: ExitStack) -> None:
        self._folder = stack.folder / "peers"
        self._keys = [key.secret for key in stack.admitted]
        self._exits = exits
        # Nothing of theirs must survive, so their Redis need not write a file, as ours does.
        self._redis = RedisServer(self._folder / "redis", "of-the-bench-only", durable=False)
        exits.enter_context(self._redis)

    def start(self, name: str) -> Contestant:
        """Start one; it is stopped with the others."""
        port = free_port()
        module = (
            name if name.startswith(("starlette", "fastapi_empty", "fastapi_response")) else f"with_{name}"
        )
        child = Child(
            name,
            [sys.executable, "-m", "bench.contestants.serve", module, str(port)],
            log=self._folder / f"{name}.log",
            environment=basic_environment() | {"BENCH_REDIS_URL": self._redis.url},
            cwd=PROJECT,
        )
        self._exits.callback(child.stop)
        child.start()
        url = f"http://{LOOPBACK}:{port}"
        wait_until_up(child, url)

        def cpu() -> Cpu:
            return Cpu(worker=tree_seconds(process_id(child)), redis=tree_seconds(self._redis.process.pid))

        return Contestant(name, url, self._keys, self._folder / f"{name}.lua", cpu)


def ours(stack: Stack, instance: Instance, name: str = "ours") -> Contestant:
    """Ours, by one of the names in `OURS`; all of one instance may share it."""
    flood = name.startswith("flood")
    keys = stack.limited[: ABUSERS if name == "flood_10" else None] if flood else stack.admitted
    return Contestant(
        name,
        instance.url,
        [key.secret for key in keys],
        stack.folder / f"{name}-{instance.port}.lua",
        instance.cpu,
        instance.settle,
        instance.errors,
        LIMITED if flood else OK,
        JSON_BODY if name == "ours_json" else "",
    )
