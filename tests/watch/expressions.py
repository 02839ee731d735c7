"""Every PromQL expression of this repository, and whether a Prometheus beside a healthy stack answers it.

An expression that ends in `or vector(0)` always has an answer, and an alert should have none. So each
selector in it is asked for by itself: a metric that was renamed, or a label that is wrong, has no series.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

EMPTY_WHEN_HEALTHY: Final = {
    "ALERTS{": "nothing is wrong",
    "probe_ssl_earliest_cert_expiry": "a blackbox exporter tells it, which is not part of the stack",
    'status=~"5.."': "its series begin with the first failure",
}
"""What stands in a selector that has no series in a healthy stack, and why."""

# Grafana replaces these by the dashboard's state.
_VARIABLES: Final = {
    "$__rate_interval": "1m",
    "$__interval": "1m",
    "$__range": "15m",
    "${datasource}": "",
}
_LABEL_LISTS: Final = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_SELECTOR: Final = re.compile(r"(?<![\w$:.])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\s*\(|[\w:])")
_STRINGS: Final = re.compile(r'"[^"]*"')
_DURATIONS: Final = re.compile(r"\[[^\]]*\]|\boffset\s+-?\w+")
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "inf", "nan"})
_HTTP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Expression:
    """A query, where it stands, and whether it has an answer in a healthy stack."""

    where: str
    query: str
    is_answered: bool = True

    @property
    def selectors(self) -> list[str]:
        """The instant selectors in it."""
        bare = _DURATIONS.sub("", _LABEL_LISTS.sub("", self.query))
        return [
            match[0].strip()
            for match in _SELECTOR.finditer(bare)
            if (match[2] or match[1].lower() not in _WORDS) and not _in_string(bare, match.start())
        ]

    @property
    def metrics(self) -> set[str]:
        """The names of the metrics that it selects."""
        return {selector.partition("{")[0].strip() for selector in self.selectors}


def of_rules(project: Path) -> Iterator[Expression]:
    """The recording rules, by their name and by their expression; the alerts."""
    for path in sorted((project / "prometheus").glob("*.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    yield Expression(f"{path.name}: {rule['record']}", rule["expr"])
                    yield Expression(f"{path.name}: {rule['record']}, as recorded", rule["record"])
                else:
                    yield Expression(f"{path.name}: {rule['alert']}", rule["expr"], is_answered=False)


def of_dashboards(project: Path) -> Iterator[Expression]:
    """All that the dashboards ask."""
    for path in sorted((project / "grafana" / "dashboards").glob("*.json")):
        yield from of_dashboard(path)


def of_dashboard(path: Path) -> Iterator[Expression]:
    """The panels' targets, the variables, and the annotations (which mark what seldom happens)."""
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    variables = dashboard.get("templating", {}).get("list", [])
    names = [variable["name"] for variable in variables]
    for panel in _panels(dashboard["panels"]):
        for target in panel.get("targets", ()):
            where = f"{path.name}: {panel['title']}"
            yield Expression(where, _without_variables(target["expr"], names))
    for variable in variables:
        if variable["type"] == "query":
            query = variable["query"]["query"] if isinstance(variable["query"], dict) else variable["query"]
            yield Expression(f"{path.name}: ${variable['name']}", _series_of(query))
    for annotation in dashboard.get("annotations", {}).get("list", ()):
        if "expr" in annotation:
            where = f"{path.name}: {annotation['name']}"
            yield Expression(where, _without_variables(annotation["expr"], names), is_answered=False)


def problems(prometheus_url: str, expressions: Iterable[Expression]) -> list[str]:
    """A line for each expression that Prometheus cannot evaluate, or does not answer although it should."""
    found = []
    with httpx.Client(base_url=prometheus_url, trust_env=False, timeout=_HTTP_SECONDS) as http:
        for expression in expressions:
            try:
                if not _answers(http, expression.query) and expression.is_answered:
                    found.append(f"{expression.where}: no answer to {expression.query}")
                found += [
                    f"{expression.where}: no series {selector}"
                    for selector in expression.selectors
                    if not any(part in selector for part in EMPTY_WHEN_HEALTHY)
                    and not _answers(http, selector)
                ]
            except ValueError as exc:
                found.append(f"{expression.where}: {exc}")
    return found


def _answers(http: httpx.Client, query: str) -> bool:
    """Whether there is a sample, and a number at that. Raises `ValueError` when the query is refused."""
    answer = http.post("/api/v1/query", data={"query": query}).json()
    if answer["status"] != "success":
        raise ValueError(answer["error"])
    result = answer["data"]["result"]
    if answer["data"]["resultType"] == "scalar":
        return True
    return any(not math.isnan(float(sample["value"][1])) for sample in result)


def _panels(panels: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", ()))


def _without_variables(query: str, names: Iterable[str]) -> str:
    for variable, value in _VARIABLES.items():
        query = query.replace(variable, value)
    for name in sorted(names, key=len, reverse=True):
        query = query.replace(f"${{{name}}}", ".*").replace(f"${name}", ".*")
    return query


def _series_of(query: str) -> str:
    """The query for what Grafana's `label_values(selector, label)` lists."""
    match = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", query)
    if match is None:
        raise ValueError(f"a variable's query should be label_values(selector, label), not {query}")
    return f"group by ({match[2]}) ({match[1]})"


def _in_string(text: str, position: int) -> bool:
    return any(match.start() < position < match.end() for match in _STRINGS.finditer(text))
