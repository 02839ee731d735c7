"""The command line: `python -m bench run`, `python -m bench check`."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from bench import check as short
from bench import machine, report
from bench.errors import BenchError
from bench.load import require_wrk
from bench.parts import Bench, Options, drain, latency, million, revocation, scaling, throughput
from bench.screen import Screen
from bench.stack import Stack
from bench.targets import Line, lines
from local.errors import LocalError

HERE: Final = Path(__file__).resolve().parent
PARTIAL: Final = HERE / "partial.json"
_FILE_COLUMNS: Final = 140
_IDLE_LOAD: Final = 0.7
PARTS: Final = {part.NAME: part for part in (throughput, latency, million, drain, revocation, scaling)}

# No pretty tracebacks: they print local variables, and some of those are keys.
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Measures the service beside its peers, in one run on one machine."""


@app.command()
def run(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the medians of their ratios are reported.")] = 8,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds of load per contestant and round.")] = 2,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this part, may be repeated: {', '.join(PARTS)}.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the results go; default: results.json here, for a part partial.json."),
    ] = None,
) -> None:
    """Measure everything: a table here, all figures as JSON, and a chart (SVG) beside it."""
    names = only or list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    output = output or (PARTIAL if only else HERE / "results.json")
    console, options = _console(), Options(rounds, seconds)
    _warn_if_busy()
    document: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "options": {"rounds": rounds, "seconds": seconds, "parts": names},
        "parts": {},
    }
    with _told(), _folder() as folder, Screen(console) as screen:
        document["versions"] = machine.versions()
        screen.plan(sum(PARTS[name].estimate(options) for name in names))
        screen.part("Starting PostgreSQL, migrating a database")
        with Stack(folder) as stack:
            document["versions"] |= stack.versions()
            for name in names:
                screen.part(PARTS[name].TITLE)
                document["parts"][name] = PARTS[name].run(Bench(options, stack, screen, document["parts"]))
                # What was measured is kept, even if a later part fails.
                _save(document, PARTIAL)
    found = _save(document, output)
    report.show(document["parts"], found, console)
    console.print(f"All figures: {output}", soft_wrap=True)
    if "throughput" in document["parts"]:
        _draw(document, output.with_suffix(".svg"))
        console.print(f"Chart: {output.with_suffix('.svg')}", soft_wrap=True)


@app.command()
def check(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Fail unless we serve at least 1.3 times the requests a second of FastAPI's empty endpoint."""
    _warn_if_busy()
    options = Options(rounds, seconds, (short.CONNECTIONS,))
    with _told(), _folder() as folder, Screen(_console()) as screen:
        screen.plan(10 + 2 * rounds * (seconds + 1))
        found = short.measure(folder, screen, options)
    for line in found:
        spread = " ".join(f"{value:.2f}" for value in line.rounds)
        typer.echo(f"{line.name}, {line.column} connections: {line.value:.2f}   (rounds: {spread})")
    if short.exit_code(found):
        _fail(f"The service has become slow: {found[0].value:.2f} is less than {short.LEAST}.")


@app.command()
def draw(
    results: Annotated[Path, typer.Argument(help="The JSON of a run.")] = HERE / "results.json",
    output: Annotated[Path | None, typer.Option(help="SVG or PNG; default: beside the JSON.")] = None,
) -> None:
    """Draw the chart of an earlier run again."""
    _draw(json.loads(results.read_text(encoding="utf-8")), output or results.with_suffix(".svg"))


def _save(document: dict[str, Any], path: Path) -> list[Line]:
    found = lines(document["parts"])
    whole = document | {"verdicts": [line.as_json() for line in found]}
    path.write_text(json.dumps(_rounded(whole), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found


def _rounded(value: Any) -> Any:
    """The same with as many digits as were measured: noise makes a file large and its changes unreadable."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value


def _draw(document: dict[str, Any], path: Path) -> None:
    from bench.chart import draw as draw_chart  # noqa: PLC0415  # `check` runs where there is no matplotlib

    draw_chart(document, path)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-bench-"))
    try:
        yield folder
    except BaseException:
        typer.secho(f"The logs are in {folder}", err=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _told() -> Iterator[None]:
    try:
        require_wrk()
        yield
    except (BenchError, LocalError) as exc:
        _fail(str(exc))


def _warn_if_busy() -> None:
    load = os.getloadavg()[0]
    if load > _IDLE_LOAD:
        typer.secho(
            f"The machine is busy (load {load:.1f}); the figures will be noisy.", fg="yellow", err=True
        )


def _console() -> Console:
    """The terminal; a file gets tables that are not squeezed into its assumed 80 columns."""
    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)


def _fail(message: str) -> None:
    typer.secho(f"Error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m bench")
