"""Sends requests to the API at a steady rate, and reports what came back and how long it took.

    python load_test.py --requests 150 --rate 10

It is an open loop: a request is sent when its time has come, not when the one before it was answered. Latency
counts from that planned time, so a service (or a ``--concurrency``) that cannot keep up shows as latency
rather than as a lower load. The key is never printed.
"""

import asyncio
import os
import re
import shlex
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Final, NoReturn

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

DEFAULT_URL: Final = "http://127.0.0.1:8000"
EXPECTED: Final = frozenset({"200", "429"})
TIMEOUT_SECONDS: Final = 30.0

_LOCAL_DIR: Final = Path(__file__).resolve().parent / ".local"
_HEADER_VALUE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Load:
    """What to send: ``rate`` in requests a second, ``concurrency`` as the most requests in flight."""

    requests: int
    rate: float
    concurrency: int
    body: dict[str, str | int]


@dataclass
class Report:
    """What came back; ``answers`` counts by status code, or by the name of what prevented an answer."""

    answers: Counter[str] = field(default_factory=Counter)
    latencies_seconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def as_expected(self) -> bool:
        """Whether every request was answered, by 200 or 429."""
        return EXPECTED.issuperset(self.answers)

    @property
    def rate(self) -> float:
        """Requests a second, from the first one's planned time until all were answered."""
        return self.answers.total() / self.seconds

    def percentiles_ms(self) -> dict[str, float]:
        """p50, p95 and p99 of the latency, in milliseconds; empty without an answer."""
        latencies = self.latencies_seconds
        if not latencies:
            return {}
        # One value has no quantiles; twice the same has.
        cuts = statistics.quantiles(
            latencies * 2 if len(latencies) == 1 else latencies, n=100, method="inclusive"
        )
        return {f"p{percent}": cuts[percent - 1] * 1000 for percent in (50, 95, 99)}


async def run(client: httpx.AsyncClient, load: Load, on_done: Callable[[], object]) -> Report:
    """Send the load and wait for all answers; ``on_done`` is called after each request."""
    report = Report()
    in_flight = asyncio.Semaphore(load.concurrency)

    async def send(planned: float) -> None:
        try:
            answer = await client.post("/api/request", json=load.body)
        except httpx.RequestError as exc:
            report.answers[type(exc).__name__] += 1
        else:
            report.answers[str(answer.status_code)] += 1
            report.latencies_seconds.append(perf_counter() - planned)
        finally:
            in_flight.release()
            on_done()

    started = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(load.requests):
            planned = started + number / load.rate
            await asyncio.sleep(max(0.0, planned - perf_counter()))
            await in_flight.acquire()
            tasks.create_task(send(planned))
    # The last request has its share of the time too, so that the rate never looks higher than planned.
    report.seconds = max(perf_counter() - started, load.requests / load.rate)
    return report


async def require_usable(client: httpx.AsyncClient) -> None:
    """End the program with one line unless the service is there and takes the key; spends no token."""
    try:
        answer = await client.get("/api/check")
    except (httpx.RequestError, httpx.InvalidURL) as exc:
        fail(f"{client.base_url} cannot be reached ({exc or type(exc).__name__}). Is the platform running?")
    if answer.status_code != HTTPStatus.OK:
        fail(f"{client.base_url} answered {answer.status_code} before the test: {_detail(answer)}")


def table(report: Report, load: Load) -> Table:
    """The report for people."""
    rows = Table(show_header=False)
    rows.add_column()
    rows.add_column(justify="right")
    for answer, count in sorted(report.answers.items()):
        rows.add_row(_named(answer), str(count), style=None if answer in EXPECTED else "red")
    rows.add_section()
    for name, milliseconds in report.percentiles_ms().items():
        rows.add_row(f"latency {name}", f"{milliseconds:.1f} ms")
    rows.add_section()
    rows.add_row("planned rate", f"{load.rate:.1f}/s")
    rows.add_row("achieved rate", f"{report.rate:.1f}/s")
    return rows


def fail(message: str) -> NoReturn:
    """End the program with one line on stderr."""
    typer.secho(f"Error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def read_local_environment() -> dict[str, str]:
    """What ``make run`` wrote to ``.local/env`` (LOCAL_DIR moves it); nothing if there is no such file."""
    path = Path(os.environ.get("LOCAL_DIR") or _LOCAL_DIR) / "env"
    try:
        words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        fail(f"{path} cannot be read ({exc}).")
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def main(
    url: Annotated[
        str | None,
        typer.Option(envvar="API_URL", help=f"The API's address; default: .local/env, {DEFAULT_URL}"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="API_KEY", help="The key to spend; default: the demo key in .local/env"),
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="How many requests to send.")] = 150,
    rate: Annotated[float, typer.Option(min=0.01, help="Requests a second.")] = 10.0,
    concurrency: Annotated[int, typer.Option(min=1, help="The most requests in flight.")] = 50,
    endpoint: Annotated[str | None, typer.Option(help="What the requests say they are for.")] = None,
    cost: Annotated[int | None, typer.Option(min=1, help="Tokens each request spends; default: 1")] = None,
) -> None:
    """Spend a key's tokens at a steady rate; fails on any answer but 200 and 429."""
    local = {} if url and key else read_local_environment()
    url = url or local.get("API_URL") or DEFAULT_URL
    key = key or local.get("DEMO_API_KEY")
    if not key:
        fail("No key to spend. Start the platform (make run), or set API_KEY, or pass --key.")
    if not _HEADER_VALUE.fullmatch(key):
        fail("The key holds characters that no key has; was it pasted whole?")
    given = {"endpoint": endpoint, "cost": cost}
    load = Load(
        requests, rate, concurrency, {name: value for name, value in given.items() if value is not None}
    )
    report = asyncio.run(_measure(url, key, load))
    Console().print(table(report, load))
    if not report.as_expected:
        fail("There were answers other than 200 and 429.")


async def _measure(url: str, key: str, load: Load) -> Report:
    limits = httpx.Limits(max_connections=load.concurrency, max_keepalive_connections=load.concurrency)
    try:
        client = httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": key},
            limits=limits,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,  # a proxy of the user's would be measured, not the service
        )
    except httpx.InvalidURL as exc:
        fail(f"{url} is not an address ({exc}).")
    screen = Console(stderr=True)
    progress = Progress(
        TextColumn("sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
    )
    async with client:
        await require_usable(client)
        with progress:
            bar = progress.add_task("", total=load.requests)
            return await run(client, load, lambda: progress.advance(bar))


def _named(answer: str) -> str:
    try:
        return f"{answer} {HTTPStatus(int(answer)).phrase}"
    except ValueError:
        return answer


def _detail(answer: httpx.Response) -> str:
    try:
        problem: Any = answer.json()
        return str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


if __name__ == "__main__":
    # No pretty tracebacks: they show local variables, and one of those is the key.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
