"""The dashboards are what Grafana reads, and ask only for what the services export."""

import json
import re
import shutil
import tempfile
from itertools import product
from pathlib import Path

import httpx
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from ratelimiter import errors, metrics
from tests.runs import running
from tests.servers import PROJECT
from tests.watch.expressions import of_dashboard, of_rules

FOLDER = PROJECT / "grafana" / "dashboards"
NAMES = sorted(path.name for path in FOLDER.glob("*.json"))
COLUMNS = 24
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
OF_PROMETHEUS = {"up", "ALERTS"}
# The model knows Grafana's own annotations alone; what Prometheus's plugin adds is no part of it.
OF_THE_PLUGIN = ("target", "step", "titleFormat", "textFormat", "tagKeys", "useValueForTime")
OF_GRAFANA = {"__all", "__range", "__rate_interval"}

pytestmark = pytest.mark.parametrize("name", NAMES)


def load(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def panels(board):
    """The panels that show numbers: neither rows nor texts."""
    return [panel for panel in board["panels"] if panel["type"] not in {"row", "text"}]


def config(path):
    return yaml.safe_load((PROJECT / path).read_text(encoding="utf-8"))


def provisioned(kind):
    [path] = (PROJECT / "grafana" / "provisioning" / kind).glob("*.yml")
    [entry] = config(path)["providers" if kind == "dashboards" else kind]
    return entry


def alerts():
    groups = config("prometheus/alerts.yml")["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"]}


def lost(given, kept, where=""):
    """The places of what was given and not kept."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [place for key in given for place in lost(given[key], kept.get(key), f"{where}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [place for index, (one, other) in pairs for place in lost(one, other, f"{where}[{index}]")]
    return [] if given == kept else [where]


@pytest.fixture(scope="module")
def exported():
    """The names of all samples that both services export or will, once there is something to count."""
    declared = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    families = [family for each in declared for family in each.describe()]
    names = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    folder = Path(tempfile.mkdtemp(prefix="ratelimiter-dashboards-"))
    folder.chmod(0o755)
    with running(folder / "state") as run, httpx.Client(trust_env=False, timeout=30) as http:
        values = run.wait_until_up()
        http.get(f"{values['ADMIN_URL']}/admin/login/").raise_for_status()  # the first view to be counted
        for service in ("API_URL", "ADMIN_URL"):
            text = http.get(f"{values[service]}/metrics").raise_for_status().text
            names |= {sample.name for each in text_string_to_metric_families(text) for sample in each.samples}
    shutil.rmtree(folder, ignore_errors=True)
    return names


def test_each_metric_is_exported_or_recorded(name, exported):
    groups = config("prometheus/rules.yml")["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    for expression in of_dashboard(FOLDER / name):
        assert expression.metrics <= exported | recorded | OF_PROMETHEUS, expression


def test_each_problem_that_is_asked_for_can_happen(name):
    classes = [errors.ApiError]
    for each in classes:
        classes += each.__subclasses__()
    slugs = {each.slug for each in classes}
    queries = "\n".join(expression.query for expression in of_dashboard(FOLDER / name))
    asked = re.findall(r'problem=~"([^"]+)"', queries)
    assert {slug for slugs_asked in asked for slug in slugs_asked.split("|")} <= slugs


def test_each_variable_is_defined(name):
    board = load(name)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
    defined = {variable["name"] for variable in board["templating"]["list"]}
    assert used - OF_GRAFANA == defined


def test_grafanas_model_keeps_all_of_it(name):
    register_default_plugins()
    board = load(name)
    for annotation in board["annotations"]["list"]:
        for key in OF_THE_PLUGIN:
            annotation.pop(key)
    kept = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert lost(board, kept) == []
    assert board["schemaVersion"] == Dashboard().schema_version


def test_the_file_is_in_a_stable_order(name):
    ordered = json.dumps(load(name), indent=2, sort_keys=True, ensure_ascii=False)
    assert (FOLDER / name).read_text(encoding="utf-8") == ordered + "\n"


def test_panels_have_ids_of_their_own_and_do_not_overlap(name):
    board = load(name)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        x, y, width, height = (panel["gridPos"][key] for key in "xywh")
        assert width > 0 and height > 0 and x + width <= COLUMNS, panel["title"]  # noqa: PT018  # one place
        cells = set(product(range(x, x + width), range(y, y + height)))
        assert not taken & cells, panel["title"]
        taken |= cells


def test_each_panel_explains_itself(name):
    for panel in panels(load(name)):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == DATASOURCE, panel["title"]
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"]), panel["title"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["min"] == 0, panel["title"]
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_each_runbook_that_a_panel_names_exists(name):
    for panel in panels(load(name)):
        for names in re.findall(r"[Rr]unbooks? ([A-Z]\w+(?: and [A-Z]\w+)*)", panel["description"]):
            assert set(names.split(" and ")) <= alerts(), panel["title"]


def test_each_line_that_a_panel_draws_is_the_bound_of_an_alert_on_the_same_metric(name):
    alerts = [rule for rule in of_rules(PROJECT) if not rule.is_answered]
    asked = list(of_dashboard(FOLDER / name))
    for panel in panels(load(name)):
        defaults = panel["fieldConfig"]["defaults"]
        if "thresholdsStyle" in defaults.get("custom", {}):
            line = re.escape(f"> {defaults['thresholds']['steps'][-1]['value']}")
            shown = {
                each for one in asked if one.where == f"{name}: {panel['title']}" for each in one.metrics
            }
            bounding = [alert for alert in alerts if re.search(rf"{line}\b", alert.query)]
            assert any(shown & alert.metrics for alert in bounding), panel["title"]


def test_links_lead_to_the_other_dashboards_and_the_runbooks(name):
    board = load(name)
    addresses = {link["url"] for link in board["links"]}
    others = {f"/d/{load(other)['uid']}" for other in NAMES if other != name}
    assert addresses == others | {"/public/runbooks.txt"}


def test_annotations_ask_the_same_in_both_of_the_forms_that_grafana_knows(name):
    for annotation in load(name)["annotations"]["list"]:
        assert annotation["datasource"] == DATASOURCE
        assert annotation["expr"] == annotation["target"]["expr"]


def test_grafana_finds_the_dashboard_its_metrics_and_the_runbooks(name):
    source, folder = provisioned("datasources"), provisioned("dashboards")
    [variable] = [each for each in load(name)["templating"]["list"] if each["type"] == "datasource"]
    assert variable["current"]["value"] == source["uid"]
    assert source["isDefault"] and not source["editable"]  # noqa: PT018  # one claim
    assert source["jsonData"]["timeInterval"] == config("prometheus.yml")["global"]["scrape_interval"]
    assert not folder["allowUiUpdates"]

    services = config("docker-compose.yml")["services"]
    volumes = [each for each in services["grafana"]["volumes"] if isinstance(each, dict)]
    mounted = {each["target"]: each["source"] for each in volumes if each.get("read_only")}
    assert mounted["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert mounted[folder["options"]["path"]] == "./grafana/dashboards"
    assert mounted["/usr/share/grafana/public/runbooks.txt"] == "./DEPLOYMENT.md"
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
