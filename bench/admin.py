"""`make bench-admin`: what the pages of the admin cost at 10 k, 1 M and 10 M rows of the log.

For each size a database of its own is filled by `manage.py seed_demo`. The sites differ in age alone: they
have the same keys and as many requests an hour, and the smaller ones began later. So a page shows as many
rows at each size. Then the pages are asked in turn, size by size, so that what else the machine does falls on
all alike. A figure is the median of several answers after one that warms up: the time, and what of it was
work, on the CPU, of the admin and its PostgreSQL process. The targets (`MOST_MS` and, to the smallest size,
`MOST_RATIO`) are held against the work: on a busy machine the rest is waiting for others. The system keeps
all rows in its memory, so on one that is idle the two are nearly the same. Beyond the targets it ends with 1.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Annotated, Final, NamedTuple, Self

import typer
from rich.console import Console
from rich.table import Table

from bench import machine
from local.postgres import Postgres
from local.roles import Role, provision

HERE: Final = Path(__file__).resolve().parent
ADMIN: Final = HERE.parent / "django-admin"
SIZES: Final = (10_000, 1_000_000, 10_000_000)
KEYS: Final = 5_000
MOST_MS: Final = 300
MOST_RATIO: Final = 1.5
OWNER: Final = Role("ratelimiter_owner", "owner-of-bench")
API: Final = Role("ratelimiter_api", "api-of-bench")
_MANAGER: Final = "/admin/api_manager"
_RANGES: Final = ("1h", "24h", "7d", "30d")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Answer(NamedTuple):
    """Milliseconds of an answer: in all, and on the CPU, of the admin and its PostgreSQL process."""

    wall: float
    cpu: float


Figures = dict[str, dict[str, list[Answer]]]
"""By page and by size."""


@dataclass(frozen=True)
class Site:
    """The admin on a database of a size, in a process of its own: a path in, an answer's times out.

    ``middle`` is the time half-way between its first request and its last; ``busy``, ``limited`` and
    ``spread`` are the numbers of the keys with the most requests, denials and rows of usage at its end.
    """

    rows: int
    process: "subprocess.Popen[str]"
    middle: datetime
    busy: int
    limited: int
    spread: int

    @classmethod
    def start(cls, rows: int, environment: dict[str, str]) -> Self:
        """On a database that is filled."""
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "manage.py", "shell", "--no-imports", "--command", _SERVE],
            cwd=ADMIN,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None  # noqa: S101  # for the type checker: it is a pipe
        middle, *keys = process.stdout.readline().split()
        return cls(rows, process, datetime.fromisoformat(middle), *map(int, keys))

    def ask(self, path: str) -> Answer:
        """One answer."""
        assert self.process.stdin is not None  # noqa: S101  # for the type checker: both are pipes
        assert self.process.stdout is not None  # noqa: S101
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return Answer(*map(float, self.process.stdout.readline().split()))


# The whole of Django, but for the socket: routes, session, permissions, template. Linux tells how many
# nanoseconds a process was on a CPU: https://docs.kernel.org/scheduler/sched-stats.html.
_SERVE: Final = """
import os
import sys
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from django.contrib.auth.models import User
from django.db.models import Count, Max, Min
from django.db import connection
from django.test import Client
from api_manager.models import RequestLog, UsageHourly
ends = RequestLog.objects.aggregate(first=Min("timestamp"), last=Max("timestamp"))
newest = RequestLog.objects.order_by("-timestamp").values("pk")[:10_000]
used = RequestLog.objects.filter(pk__in=newest)
recent = UsageHourly.objects.filter(hour__gt=ends["last"] - timedelta(hours=3))
def most(rows):
    return rows.values_list("api_key").annotate(rows=Count("*")).order_by("-rows", "api_key")[0][0]
middle = ends["first"] + (ends["last"] - ends["first"]) / 2
print(middle.isoformat(), most(used), most(used.filter(status_code=429)), most(recent), flush=True)
client = Client(HTTP_HOST="localhost")
client.force_login(User.objects.create_superuser("bench"))
def worked():
    processes = os.getpid(), connection.connection.info.backend_pid
    return sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[0]) for each in processes) / 1e6
for line in sys.stdin:
    cpu, began = worked(), perf_counter()
    answer = client.get(line.strip())
    wall, cpu = (perf_counter() - began) * 1000, worked() - cpu
    assert answer.status_code == 200, (line, answer.status_code)
    print(round(wall, 1), round(cpu, 1), flush=True)
"""


def pages(now: datetime, site: Site) -> dict[str, str]:
    """The pages that are timed, by what they are called."""
    noon = site.middle
    day = noon.replace(hour=0, minute=0, second=0, microsecond=0)
    hour = noon.replace(minute=0, second=0, microsecond=0)
    of_day = f"since={day:%Y-%m-%dT%H:%M}&until={day + timedelta(days=1):%Y-%m-%dT%H:%M}"
    of_hour = f"since={hour:%Y-%m-%dT%H:%M}&until={hour + timedelta(hours=1):%Y-%m-%dT%H:%M}"
    middle = f"{noon:%Y-%m-%dT%H:%M:%SZ}~0"
    requests = {
        "last 24 hours": "",
        "7 days": "range=7d",
        "30 days": "range=30d",
        "the last hour, by minutes": "range=1h",
        "a day, by hours": of_day,
        "an hour": of_hour,
        "a page in the midst, older": f"range=30d&before={middle}",
        "a page in the midst, newer": f"range=30d&after={middle}",
        "a key": f"range=30d&api_key={site.busy}",
        "a key's hour": f"{of_hour}&api_key={site.busy}",
        "a key's 429": f"range=30d&api_key={site.limited}&status_code=429",
        "a key's 403, which there are not": f"range=30d&api_key={site.busy}&status_code=403",
        "keys by a part of their name": "range=30d&api_key=billing-eu-1",
        "an endpoint": "range=30d&endpoint=/v1/orders",
        "endpoints by prefix": "range=30d&endpoint=/v2/*",
        "an endpoint that nobody asked": "range=30d&endpoint=/nothing",
        "429": "range=30d&status_code=429",
        "5xx, which there are not": "range=30d&status_code=5xx",
        "an address that never came": "range=30d&client_ip=203.0.113.77",
        "a network, of a leaked key": "range=30d&client_ip=198.18.7.0/24",
        "all at once": "range=30d&endpoint=/v1/*&status_code=4xx&client_ip=10.0.0.0/8",
        "where a key was used": f"range=30d&api_key={site.busy}",
        "export": "range=30d&status_code=429",
    }
    days = f"hour__gte={now - timedelta(days=7):%Y-%m-%d}&hour__lt={now + timedelta(days=1):%Y-%m-%d}"
    usage = {
        "": "",
        "of a key": f"api_key={site.spread}",
        "of a tier": "api_key__tier__id__exact=1",
        "of 7 days": days,
        "of an endpoint": "endpoint=/v1/orders",
        "of an endpoint that nobody asked": "endpoint=/nothing",
        "by a key's name": "q=billing-eu",
        "by a name that no key has": "q=nothing",
    }
    keys = {
        "": "",
        "of a tier": "tier__id__exact=1",
        "active": "status=active",
        "paused": "is_active__exact=0",
        "expiring": "attention=expiring",
        "unused": "attention=unused",
        "by name": "q=billing-eu",
        "by last use": "o=-8",
    }
    audit = {
        "": "",
        "of an action": "action__exact=rotated",
        "of a kind of target": "target_type__exact=key",
        "of a target": f"target_id={site.busy}",
        "by actor": "q=command:seed_demo",
    }
    beside = {"where a key was used": "origins/", "export": "export/"}
    key = f"{_MANAGER}/apikey/{site.busy}"
    return (
        {"a form, the floor": f"{_MANAGER}/apikey/find/"}
        | {f"overview, {span}": f"/admin/?range={span}" for span in _RANGES}
        | {f"a key's page, {span}": f"{key}/change/?range={span}" for span in _RANGES}
        | {f"a key's {what}": f"{key}/{what}/" for what in ("edit", "rotate", "history")}
        | {
            f"requests: {name}": f"{_MANAGER}/requestlog/{beside.get(name, '')}?{query}"
            for name, query in requests.items()
        }
        | _lists("usage", "usagehourly", usage)
        | _lists("keys", "apikey", keys)
        | _lists("audit", "auditevent", audit)
        | {"tiers": f"{_MANAGER}/tier/", "tokens": f"{_MANAGER}/managementtoken/"}
        | {"users": "/admin/auth/user/", "groups": "/admin/auth/group/"}
    )


def _lists(name: str, model: str, queries: dict[str, str]) -> dict[str, str]:
    return {f"{name} {which}".strip(): f"{_MANAGER}/{model}/?{query}" for which, query in queries.items()}


@app.command()
def run(
    most: Annotated[int, typer.Option(min=SIZES[0], help="Rows; no larger size than this.")] = SIZES[-1],
    rounds: Annotated[int, typer.Option(min=1, help="Answers of each page and size.")] = 7,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = HERE / "admin.json",
) -> None:
    """Fill databases of each size, time the pages, print a table, write all figures as JSON."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-admin-") as folder:
        postgres = Postgres(Path(folder), durable=False).start()
        try:
            with _sites(postgres, [size for size in SIZES if size <= most], console) as sites:
                figures = _measure(sites, rounds, console)
        finally:
            postgres.stop()
            postgres.remove()
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "keys": KEYS,
        "rounds": rounds,
        "milliseconds": figures,
    }
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(0 if _show(figures, console) else 1)


@contextmanager
def _sites(postgres: Postgres, sizes: list[int], console: Console) -> Iterator[list[Site]]:
    sites = []
    try:
        for size in sizes:
            name = f"rows_{size}"
            provision(postgres.admin_url, name, OWNER, API, createdb=True)
            environment = os.environ | {
                "DATABASE_URL": postgres.url(name, OWNER),
                "API_DATABASE_ROLE": API.name,
                "DJANGO_SECRET_KEY": "of-the-bench",
                "LOG_LEVEL": "critical",
                "PGOPTIONS": "-c max_parallel_workers_per_gather=0",  # one process, whose CPU is known
            }
            console.print(f"Filling {size:,} rows")
            _manage(environment, "migrate", "--verbosity=0")
            of_all = ("--keys", str(KEYS), "--requests", str(sizes[-1]))
            _manage(environment, "seed_demo", *of_all, "--newest", str(size))
            sites.append(Site.start(size, environment))
        yield sites
    finally:
        for site in sites:
            site.process.terminate()
            site.process.wait()


def _manage(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=ADMIN, env=environment, check=True)  # noqa: S603  # our own program


def _measure(sites: list[Site], rounds: int, console: Console) -> Figures:
    figures: Figures = {}
    now = datetime.now(UTC)
    of_sites = [pages(now, site) for site in sites]
    for name in of_sites[0]:
        console.print(name)
        asked = [(site, paths[name]) for site, paths in zip(sites, of_sites, strict=True)]
        for site, path in asked:
            site.ask(path)
        answers: dict[str, list[Answer]] = {str(site.rows): [] for site in sites}
        for _ in range(rounds):
            for site, path in asked:
                answers[str(site.rows)].append(site.ask(path))
        figures[name] = answers
    return figures


def _show(figures: Figures, console: Console) -> bool:
    """Print the medians and what they are of the smallest size's; whether all are within the targets."""
    table = Table("page", *(f"{int(size):,} rows" for size in next(iter(figures.values()))), "ratio", "took")
    is_good = True
    for name, answers in figures.items():
        cpu = [median(answer.cpu for answer in of_size) for of_size in answers.values()]
        wall = [median(answer.wall for answer in of_size) for of_size in answers.values()]
        ratio = max(cpu) / cpu[0]
        is_good &= ratio <= MOST_RATIO and max(cpu) <= MOST_MS
        told = f"{ratio:.2f}" if ratio <= MOST_RATIO else f"[bold]{ratio:.2f}[/bold]"
        table.add_row(name, *(f"{each:.0f} ms" for each in cpu), told, f"{wall[-1]:.0f} ms")
    console.print(table)
    return is_good


if __name__ == "__main__":
    app()
