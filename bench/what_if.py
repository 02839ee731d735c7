"""`make bench-what-if`: what `manage.py what_if` costs for 100 k and 1 M rows of the log, of the same keys.

A database gets a day of either size, each row of a moment of its own. Then both days are asked in turn, each
time in a new process, under a tier's one limit and under four. Told are the seconds it took, those of the CPU
of Python and of PostgreSQL, which work at the same time, and the most memory that Python held. It ends with 1
where a million rows take over ``MOST_SECONDS`` of both CPUs, or over ``MOST_RATIO`` of the memory that a
tenth of them takes. The time that it took is told, not held: on a busy machine most of it is waiting.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Final, NamedTuple, Self

import psycopg2
import typer
from rich.console import Console
from rich.table import Table

from bench.admin import ADMIN, API, OWNER
from local.postgres import Postgres
from local.roles import provision

KEYS: Final = 2_000
DAYS_AGO: Final = {100_000: 6, 1_000_000: 3}
"""By its rows, when a day was; a day's warm-up finds nothing before it."""
PLANS: Final = {
    "one limit": "",
    "four limits": "second:1/10:3\ndaily:400/day\nexports:20/3600@/v1/export",
}
MOST_SECONDS: Final = 10
MOST_RATIO: Final = 1.05

_KEYS: Final = """
WITH added AS (INSERT INTO tier (name, requests_per_hour, burst) VALUES ('asked', 3600, 100) RETURNING id)
INSERT INTO api_key (name, hint, digest, tier_id)
SELECT 'key ' || n, 'hint', sha256(n::text::bytea), id FROM added, generate_series(1, %s) AS n
"""
_ROWS: Final = """
INSERT INTO request_log (api_key_id, endpoint, status_code, cost, remaining, client_ip, "timestamp")
SELECT 1 + abs(hashint8(n)) %% %s, '/v1/' || (ARRAY['orders', 'export/a', 'items'])[1 + n %% 3],
       CASE n %% 20 WHEN 0 THEN 429 ELSE 200 END, 1, 5, '192.0.2.1',
       date_trunc('day', now()) - %s * interval '1 day' + n * (interval '1 day' / %s)
FROM generate_series(0, %s - 1) AS n
"""
# Linux tells how many nanoseconds a process was on a CPU, and the most memory that it held.
_ASK: Final = """
import os
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time
from django.db import connection
from django.utils import timezone
from api_manager.models import Tier
from api_manager.what_if.question import QuestionForm, present
from api_manager.what_if.replay import replay
tier = Tier.objects.get(name="asked")
start = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
start -= timedelta(days=int(os.environ["DAYS_AGO"]))
said = {"limits": os.environ["LIMITS"], "since": start, "until": start + timedelta(days=1)}
form = QuestionForm(present(tier) | said, tier)
assert form.is_valid(), form.errors
stat = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
worked = lambda: int(stat.read_text().split()[0]) / 1e9
before, cpu, began = worked(), process_time(), perf_counter()
result = replay(form.question)
took, cpu, of_postgres = perf_counter() - began, process_time() - cpu, worked() - before
[peak] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
assert result.rows == int(os.environ["ROWS"]), result.rows
print(took, cpu, of_postgres, int(peak) / 1024)
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Cost(NamedTuple):
    """Of an answer: seconds in all, seconds on the CPU of both processes, and megabytes of Python at most."""

    took: float
    python: float
    postgres: float
    megabytes: float

    @classmethod
    def median(cls, costs: list[Self]) -> Self:
        """Of each figure the median."""
        return cls(*map(median, zip(*costs, strict=True)))


@app.command()
def run(rounds: Annotated[int, typer.Option(min=1, help="Answers of each size and plan.")] = 3) -> None:
    """Fill a database, ask it, print a table."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-what-if-") as folder:
        postgres = Postgres(Path(folder), durable=False).start()
        try:
            provision(postgres.admin_url, "what_if", OWNER, API, createdb=True)
            costs = _measure(_filled(postgres.url("what_if", OWNER), console), rounds)
        finally:
            postgres.stop()
            postgres.remove()
    raise typer.Exit(0 if _show(costs, console) else 1)


def _filled(url: str, console: Console) -> dict[str, str]:
    """The environment of an admin whose log holds both days."""
    environment = os.environ | {
        "DATABASE_URL": url,
        "API_DATABASE_ROLE": API.name,
        "DJANGO_SECRET_KEY": "of-the-bench",
        "LOG_LEVEL": "critical",
        "PGOPTIONS": "-c max_parallel_workers_per_gather=0",  # one process, whose CPU is known
    }
    _manage(environment, "migrate", "--verbosity=0")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, [KEYS])
        for rows, ago in DAYS_AGO.items():
            console.print(f"Filling {rows:,} rows")
            cursor.execute(_ROWS, [KEYS, ago, rows, rows])
        cursor.execute("VACUUM ANALYZE")
    connection.close()
    return environment


def _measure(environment: dict[str, str], rounds: int) -> dict[tuple[str, int], Cost]:
    costs: dict[tuple[str, int], list[Cost]] = {}
    for _ in range(rounds):
        for plan, limits in PLANS.items():
            for rows, ago in DAYS_AGO.items():
                asked = environment | {"LIMITS": limits, "DAYS_AGO": str(ago), "ROWS": str(rows)}
                answer = _manage(asked, "shell", "--no-imports", "--command", _ASK)
                costs.setdefault((plan, rows), []).append(Cost(*map(float, answer.split())))
    return {asked: Cost.median(found) for asked, found in costs.items()}


def _manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(  # noqa: S603  # our own program
        command, cwd=ADMIN, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _show(costs: dict[tuple[str, int], Cost], console: Console) -> bool:
    """Print the medians; whether they are within the targets."""
    table = Table("limits", "rows", "took", "Python", "PostgreSQL", "memory")
    for (plan, rows), cost in costs.items():
        seconds = (f"{each:.1f} s" for each in cost[:3])
        table.add_row(plan, f"{rows:,}", *seconds, f"{cost.megabytes:.1f} MB")
    console.print(table)
    few, many = DAYS_AGO
    return all(
        costs[plan, many].python + costs[plan, many].postgres <= MOST_SECONDS
        and costs[plan, many].megabytes <= MOST_RATIO * costs[plan, few].megabytes
        for plan in PLANS
    )


if __name__ == "__main__":
    app()
