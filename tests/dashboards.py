"""What Grafana reads, taken apart for the tests: dashboards, their panels, and what they ask Prometheus."""

import json
import re

from tests.servers import PROJECT

FOLDER = PROJECT / "grafana" / "dashboards"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))

_STRINGS = re.compile(r'"[^"]*"')
_SELECTORS = re.compile(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)")
_NAMES = re.compile(r"\b[a-zA-Z_:][\w:]*(?![\w:]* *\()")
_OPERATORS = {"and", "or", "unless", "offset", "bool", "atan2"}


def load(name):
    """The dashboard of a file."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def panels(board):
    """The panels that show numbers: neither rows nor texts."""
    return [panel for panel in board["panels"] if panel["type"] not in {"row", "text"}]


def expressions(board):
    """All that a dashboard asks Prometheus, its variables still unfilled."""
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    return [
        *(target["expr"] for panel in panels(board) for target in panel["targets"]),
        *(annotation["target"]["expr"] for annotation in board["annotations"]["list"]),
        *(re.fullmatch(r"label_values\((.+), \w+\)", query)[1] for query in variables),
    ]


def metric_names(expression):
    """The names of the metrics that a PromQL expression selects."""
    bare = _SELECTORS.sub(" ", _STRINGS.sub("", expression))
    return set(_NAMES.findall(bare)) - _OPERATORS
