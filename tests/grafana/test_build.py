"""What the package makes: files are current, layouts fill the screen, nothing points to what does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from typer.testing import CliRunner

import grafana
from aisleflow.cli import app
from grafana import alerts, build, wall
from grafana.panels import COLUMNS, GAP_PX, ROW_PX
from tests.grafana.macros import MACROS, last

ROOT = Path(__file__).resolve().parents[2]
BOARDS = build.dashboards()
PANELS = [(uid, panel) for uid, board in BOARDS.items() for panel in board["panels"]]
#: The bar with time picker and variables, and the margin around the grid, on a display without Grafana's other menus.
TOOLBAR_PX, MARGIN_PX = 48, 16


def named(pairs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [f"{uid.removeprefix('aisleflow-')}-{panel['id']}" for uid, panel in pairs]


def height_px(rows: int) -> int:
    """Pixels of so many rows of the grid."""
    return rows * ROW_PX + (rows - 1) * GAP_PX


def links(content: Any) -> Iterator[str]:
    """Every address in a dashboard."""
    if isinstance(content, dict):
        if isinstance(content.get("url"), str):
            yield content["url"]
        for value in content.values():
            yield from links(value)
    elif isinstance(content, list):
        for value in content:
            yield from links(value)


def test_files_are_current() -> None:
    done = CliRunner().invoke(app, ["grafana", "build", "--check"])
    assert done.exit_code == 0, done.output


def test_check_tells_what_is_not_current(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "HERE", tmp_path / "grafana")
    assert CliRunner().invoke(app, ["grafana", "build"]).exit_code == 0
    assert build.outdated() == []
    (tmp_path / "grafana/dashboards/aisleflow-wall.json").write_text("{}")
    stray = tmp_path / "grafana/dashboards/gone.json"
    stray.write_text("{}")
    done = CliRunner().invoke(app, ["grafana", "build", "--check"])
    assert done.exit_code == 1
    assert "not current: grafana/dashboards/aisleflow-wall.json" in done.output
    assert len(build.write()) == 2
    assert not stray.exists()
    assert build.write() == []


def test_every_dashboard_of_the_list_is_there() -> None:
    assert list(BOARDS) == [
        "aisleflow-wall",
        "aisleflow-shop",
        "aisleflow-funnel",
        "aisleflow-queues",
        "aisleflow-zones",
        "aisleflow-cameras",
        "aisleflow-stock",
        "aisleflow-forecasts",
        "aisleflow-anomalies",
        "aisleflow-pipeline",
    ]
    for uid, board in BOARDS.items():
        assert board["uid"] == uid and len(uid) <= 40
        assert board["refresh"] == "10s"
        assert board["editable"] is False
        assert board["description"]


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_fill_the_grid_and_do_not_overlap(uid: str) -> None:
    panels = BOARDS[uid]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, f"{panel['title']} lies on another panel"
        cells |= own
    rows = max(y for _, y in cells) + 1
    assert cells == {(x, y) for x in range(COLUMNS) for y in range(rows)}, "there is a hole in the grid"


@pytest.mark.parametrize("scale", [1, 2], ids=["1920x1080", "3840x2160 at a device scale factor of 2"])
def test_the_wall_fits_on_one_screen(scale: int) -> None:
    used = scale * (height_px(wall.HEIGHT) + TOOLBAR_PX + 2 * MARGIN_PX)
    screen = scale * 1080
    assert used <= screen
    assert used > 0.95 * screen, "the screen is not filled"
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in BOARDS[wall.UID]["panels"]) == wall.HEIGHT


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=named(PANELS))
def test_every_panel_explains_itself(uid: str, panel: dict[str, Any]) -> None:
    assert panel["description"], "says what it shows"
    assert len(panel["fieldConfig"]["defaults"]["noValue"]) > 10, "says why it is empty"
    assert panel["datasource"] == {"type": grafana.PLUGIN, "uid": grafana.DATASOURCE_UID}
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["editorType"] == "sql"
        assert target["pluginVersion"] == grafana.PLUGIN_VERSION
        assert target["format"] == (0 if target["queryType"] == "timeseries" else 1)
        assert (target["format"] == 0) == (panel["type"] in {"timeseries", "heatmap", "state-timeline"})
        assert "--" not in target["rawSql"], "a comment could hide a macro"


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=named(PANELS))
def test_colours_have_words(uid: str, panel: dict[str, Any]) -> None:
    """Whoever sees no colours sees the same: a coloured value is text, or a number with its unit and a description."""
    defaults = panel["fieldConfig"]["defaults"]
    mapped = [defaults.get("mappings") or []]
    for override in panel["fieldConfig"].get("overrides", []):
        mapped += [entry["value"] for entry in override["properties"] if entry["id"] == "mappings"]
    for mapping in (one for mappings in mapped for one in mappings):
        results = mapping["options"].values() if mapping["type"] == "value" else [mapping["options"]["result"]]
        assert all(result.get("text") for result in results) or mapping["type"] == "regex"


@pytest.mark.parametrize("uid", BOARDS)
def test_links_lead_to_dashboards_that_exist(uid: str) -> None:
    found = list(links(BOARDS[uid]))
    assert found
    for address in found:
        parts = urlsplit(address)
        if parts.path == "/explore":
            panes = json.loads(parse_qs(parts.query)["panes"][0])
            assert panes["a"]["datasource"] == grafana.DATASOURCE_UID
            assert panes["a"]["range"] == {"from": "${__from}", "to": "${__to}"}
            sql = panes["a"]["queries"][0]["rawSql"]
            assert sql in {target["rawSql"] for panel in BOARDS[uid]["panels"] for target in panel["targets"]}
        else:
            assert parts.path.removeprefix("/d/").strip("/") in BOARDS, address


def test_a_link_to_explore_leaves_variables_to_grafana_and_nothing_else() -> None:
    address = next(address for address in links(BOARDS["aisleflow-shop"]) if address.startswith("/explore"))
    assert set(re.findall(r"\$\{[^}]*\}", address)) == {"${store:sqlstring}", "${__from}", "${__to}"}
    assert re.sub(r"\$\{[^}]*\}", "", address).isascii()
    assert "$" not in re.sub(r"\$\{[^}]*\}", "", address), "a macro would be taken for a variable"
    assert "$__timeFilter(started_at)" in unquote(address)


def test_from_the_wall_to_a_shop_to_its_sql() -> None:
    wall_links = list(links(BOARDS["aisleflow-wall"]))
    assert "/d/aisleflow-shop/?var-store=${__data.fields.store_id}&${__url_time_range}" in wall_links
    assert any(address.startswith("/explore") for address in links(BOARDS["aisleflow-shop"]))


def test_queries_use_known_macros_and_variables() -> None:
    for uid, board in BOARDS.items():
        variables = {variable["name"] for variable in board["templating"].get("list", [])}
        for panel in board["panels"]:
            for target in panel["targets"]:
                sql = target["rawSql"]
                used = {name for pair in re.findall(r"\$\{(\w+)|\$(\w+)", sql) for name in pair if name}
                macros = {name.removeprefix("__") for name in used if name.startswith("__")}
                assert macros <= MACROS.keys() | {"conditionalAll"}
                assert {name for name in used if not name.startswith("__")} <= variables, f"{uid} {panel['title']}"


def test_every_query_over_time_is_bound_to_the_window() -> None:
    """All but states of now: cameras as they report, feeds, and lists of open findings."""
    now = {
        "aisleflow-wall-4",
        "aisleflow-cameras-1",
        "aisleflow-cameras-2",
        "aisleflow-cameras-3",
        "aisleflow-cameras-6",
        "aisleflow-stock-1",
        "aisleflow-stock-2",
        "aisleflow-stock-3",
        "aisleflow-stock-4",
        "aisleflow-stock-5",
        "aisleflow-forecasts-1",
        "aisleflow-forecasts-4",
    }
    unbound = {
        f"{uid}-{panel['id']}"
        for uid, panel in PANELS
        for target in panel["targets"]
        if not re.search(r"\$__(timeFilter|fromTime|toTime)", target["rawSql"])
    }
    assert unbound == now


@pytest.mark.parametrize("rule", alerts.RULES, ids=lambda rule: rule.uid)
def test_alert_rules(rule: alerts.Rule) -> None:
    """No browser and no dashboard stand behind an alert: one macro, no variable; and it says what to do and where to look."""
    assert set(re.findall(r"\$\w+", rule.sql)) == {"$__timeFilter"}
    board = BOARDS[rule.dashboard]
    assert rule.panel in {panel["id"] for panel in board["panels"]}
    assert rule.summary and rule.what_to_do and rule.no_data_reason
    assert rule.uid.startswith("aisleflow-") and len(rule.uid) <= 40
    made = alerts.rule_as_file(rule)
    assert made["annotations"]["__dashboardUid__"] == made["dashboardUid"] == rule.dashboard
    assert [query["refId"] for query in made["data"]] == ["A", "B"] and made["condition"] == "B"
    assert made["data"][1]["model"]["expression"] == "A"
    assert re.fullmatch(r"\d+[smh]", made["for"])
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(made["annotations"].values())))
    assert used <= {"store_id", "shop", "subject", "topic"}


def test_alert_rules_have_names_of_their_own() -> None:
    for one, other in combinations(alerts.RULES, 2):
        assert one.uid != other.uid and one.title != other.title


def test_provisioning_files() -> None:
    """Everything that Grafana's readers require (pkg/services/provisioning), and no secret."""
    read = {
        path.relative_to(build.HERE / "provisioning").as_posix(): yaml.safe_load(text)
        for path, text in build.files().items()
        if path.suffix == ".yaml"
    }
    assert all(content["apiVersion"] == 1 for content in read.values())
    (source,) = read["datasources/clickhouse.yaml"]["datasources"]
    assert source["secureJsonData"] == {"password": "$AISLEFLOW_CLICKHOUSE_ANALYST_PASSWORD"}
    assert source["jsonData"]["username"] == "analyst"
    (group,) = read["alerting/rules.yaml"]["groups"]
    assert {rule["uid"] for rule in group["rules"]} == {rule.uid for rule in alerts.RULES}
    (point,) = read["alerting/contact-points.yaml"]["contactPoints"]
    settings = {receiver["type"]: receiver["settings"] for receiver in point["receivers"]}
    assert settings["email"]["addresses"] == "$AISLEFLOW_ALERT_EMAIL"
    assert settings["webhook"]["url"] == "$AISLEFLOW_ALERT_WEBHOOK"
    (policy,) = read["alerting/policies.yaml"]["policies"]
    assert policy["receiver"] == point["name"]
    assert all(route["receiver"] == point["name"] for route in policy["routes"])


def test_compose_runs_what_the_files_are_written_for() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    assert service["image"] == f"grafana/grafana:{grafana.GRAFANA_VERSION}"
    assert service["environment"]["GF_PLUGINS_PREINSTALL"] == f"{grafana.PLUGIN}@{grafana.PLUGIN_VERSION}"
    assert f"./grafana/dashboards:{build.MOUNTED_AT}:ro" in service["volumes"]
    text = "".join(text for path, text in build.files().items() if path.suffix == ".yaml")
    for variable in set(re.findall(r"\$(AISLEFLOW_\w+)", text)):
        assert variable in service["environment"], variable


def test_the_playlist_shows_dashboards_that_exist() -> None:
    assert set(alerts.PLAYLIST_DASHBOARDS) <= BOARDS.keys()
    assert last(24).end > last(24).start
