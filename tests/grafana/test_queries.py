"""Every query of every dashboard and alert rule, as Grafana sends it, asked of a real ClickHouse by the user Grafana has: over a
simulated day it gives what its panel needs, over an empty database it runs.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from aisleflow.settings import Settings
from grafana import alerts, build, sql
from producers.simulator.shops import Shop
from tests.grafana.macros import ALL, Choice, as_sent, last
from tests.grafana.simulated import fill

BOARDS = build.dashboards()
TARGETS = [
    (uid, panel, target) for uid, board in BOARDS.items() for panel in board["panels"] for target in panel["targets"]
]
NAMES = [f"{uid.removeprefix('aisleflow-')}-{panel['id']}-{target['refId']}" for uid, panel, target in TARGETS]


@dataclass
class World:
    """A filled database and an empty one, both read as Grafana's user."""

    full: Client
    empty: Client
    shops: list[Shop]
    settings: Settings
    took: dict[str, float]

    def variables(self, uid: str, *, shop: str | None = None) -> dict[str, Choice]:
        """What somebody who just opened the dashboard has chosen."""
        found = {}
        for variable in BOARDS[uid]["templating"].get("list", []):
            ids = [shop.store_id for shop in self.shops]
            found[variable["name"]] = Choice([ALL] if variable.get("includeAll") else shop or ids[0], ids)
        return found


def as_analyst(settings: Settings) -> Client:
    """A client of the user that the data source has."""
    assert settings.clickhouse_url is not None
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    assert url.password is not None
    return clickhouse_connect.get_client(
        host=url.hostname, port=url.port, username="analyst", password=url.password[::-1], database=url.path.strip("/"),
        autogenerate_session_id=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(clickhouse: str, make_world: Callable[..., Settings]) -> Iterator[World]:
    settings = make_world(None, clickhouse)
    shops = fill(settings)
    with as_analyst(settings) as full, as_analyst(make_world(None, clickhouse)) as empty:
        world = World(full, empty, shops, settings, {})
        yield world
        print(
            "\n"
            + "\n".join(f"{ms:7.1f} ms  {name}" for name, ms in sorted(world.took.items(), key=lambda one: -one[1]))
        )


def columns(client: Client, statement: str) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Types by column, and rows."""
    answer = client.query(statement)
    return dict(zip(answer.column_names, [kind.name for kind in answer.column_types], strict=True)), answer.result_rows


def is_time(kind: str) -> bool:
    return kind.startswith("DateTime")


def is_number(kind: str) -> bool:
    return re.fullmatch(r"(Nullable\()?(U?Int\d+|Float\d+)\)?", kind) is not None


def is_text(kind: str) -> bool:
    return kind in {"String", "LowCardinality(String)"}


@pytest.mark.parametrize(("uid", "panel", "target"), TARGETS, ids=NAMES)
def test_a_query_gives_what_its_panel_needs(
    uid: str, panel: dict[str, Any], target: dict[str, Any], world: World, request: pytest.FixtureRequest
) -> None:
    hours = 3 if BOARDS[uid]["time"]["from"] == "now-3h" else 24
    window = last(hours, interval=timedelta(minutes=5))
    statement = as_sent(target["rawSql"], window, world.variables(uid))
    began = time.perf_counter()
    kinds, rows = columns(world.full, statement)
    world.took[request.node.callspec.id] = (time.perf_counter() - began) * 1000
    assert rows
    # Other types the plugin's converters may not know; a Decimal comes as text.
    assert all(
        is_time(kind.removeprefix("Nullable(")) or is_number(kind) or is_text(kind) for kind in kinds.values()
    ), kinds
    if target["format"] == 0:
        times = [row[list(kinds).index("time")] for row in rows]
        assert is_time(kinds["time"]) and not any(moment is None for moment in times)
        assert times == sorted(times), "the plugin wants a long series in the order of time"
        assert sum(map(is_number, kinds.values())) >= 1
        assert sum(map(is_text, kinds.values())) <= 1, "one text names the lines"
        assert all(
            window.start.timestamp() - 3600 <= t.timestamp() <= window.end.timestamp() + 1 for t in map(utc, times)
        )
    labels = {name for name, kind in kinds.items() if is_text(kind)}
    for override in panel["fieldConfig"].get("overrides", []):
        name = override["matcher"]["options"]
        if len(panel["targets"]) == 1:
            assert name in kinds, f"the override of {name} meets no column"
        for entry in override["properties"]:
            for label in re.findall(r"__field\.labels\.(\w+)", json.dumps(entry)):
                assert label in labels
            for name in re.findall(r"__data\.fields\.(\w+)", json.dumps(entry)):
                assert name in kinds
    if panel["type"] == "table":
        shown = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        assert kinds.keys() == shown, "every column has a heading in words"


def utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(("uid", "panel", "target"), TARGETS, ids=NAMES)
def test_a_query_runs_over_an_empty_database(
    uid: str, panel: dict[str, Any], target: dict[str, Any], world: World
) -> None:
    _, rows = columns(world.empty, as_sent(target["rawSql"], last(24), world.variables(uid)))
    assert rows == [], "without events a panel says so; a row of zeros would be a lie"


@pytest.mark.parametrize("uid", [uid for uid, board in BOARDS.items() if board["templating"].get("list")])
def test_variables_offer_the_shops(uid: str, world: World) -> None:
    for variable in BOARDS[uid]["templating"]["list"]:
        statement = as_sent(variable["query"]["rawSql"], last(24), {})
        kinds, rows = columns(world.full, statement)
        assert list(kinds.values()) == ["String"]
        pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
        offered = {found["value"]: found["text"] for row in rows if (found := pattern.match(row[0]))}
        assert offered == {shop.store_id: shop.name if shop.has_layout else shop.store_id for shop in world.shops}
        assert columns(world.empty, statement)[1] == []


@pytest.mark.parametrize("uid", [uid for uid, board in BOARDS.items() if board["templating"].get("list")])
def test_a_chosen_shop_is_the_only_one_shown(uid: str, world: World) -> None:
    one = world.shops[1]
    others = [shop.store_id for shop in world.shops if shop is not one]
    variables = {
        name: Choice([one.store_id] if choice.value == [ALL] else one.store_id)
        for name, choice in world.variables(uid).items()
    }
    for panel in BOARDS[uid]["panels"]:
        for target in panel["targets"]:
            _, rows = columns(world.full, as_sent(target["rawSql"], last(24), variables))
            told = json.dumps(rows, default=str)
            assert not any(store in told for store in others), panel["title"]


@pytest.mark.parametrize("rule", alerts.RULES, ids=lambda rule: rule.uid)
def test_an_alert_rule_gives_one_number_a_row(rule: alerts.Rule, world: World) -> None:
    """What Grafana's expressions take for numbers with labels: no time, one number, otherwise text (isNumberTable in pkg/expr)."""
    statement = as_sent(rule.queries[0]["model"]["rawSql"], last(rule.window_s / 3600))
    kinds, rows = columns(world.full, statement)
    assert sum(map(is_number, kinds.values())) == 1
    assert all(is_number(kind) or is_text(kind) for kind in kinds.values())
    value = list(kinds).index("value")
    labels = [tuple(cell for at, cell in enumerate(row) if at != value) for row in rows]
    assert len(set(labels)) == len(labels), "two rows with the same labels are an error"
    assert any(row[value] > rule.above for row in rows), "the simulated day has one of each"
    assert set(re.findall(r"\$labels\.(\w+)", rule.summary)) <= kinds.keys()
    assert columns(world.empty, statement)[1] == []


def test_the_wall_shows_the_worst_first_and_says_who_is_behind(world: World) -> None:
    panels = BOARDS["aisleflow-wall"]["panels"]
    window = last(24)
    left, right = (columns(world.full, as_sent(panels[at]["targets"][0]["rawSql"], window, {}))[1] for at in (1, 2))
    read = [row for pair in zip(left, right, strict=True) for row in pair]
    assert {row[0] for row in read} == {shop.store_id for shop in world.shops}
    order = ["CRITICAL", "BEHIND", "WARNING", "NOTE", "SEEN", "OK"]
    states = [next(at for at, word in enumerate(order) if row[2].startswith(word)) for row in read]
    assert states == sorted(states)
    assert read[0][2].startswith("CRITICAL")
    assert "queue 12" in next(row[2] for row in read if row[0] == world.shops[0].store_id)
    assert all(re.search(r" in  ·  .* waiting  ·  last event \d+ (s|min|h|days) ago$", row[1]) for row in read)
    (total,) = world.full.query(as_sent(panels[0]["targets"][0]["rawSql"], window, {})).named_results()
    assert total["Figures"].endswith("late")
    assert next(row[2] for row in read if row[0] == world.shops[3].store_id).startswith("BEHIND by"), "by its partition"
    assert next(row[2] for row in read if row[0] == world.shops[2].store_id).startswith("SEEN by Ana"), (
        "it does not shout"
    )
    assert total["Shops in trouble"] == f"{sum(state <= 2 for state in states)} of {len(world.shops)}"
    assert total["Visitors today"] == sum(int(re.search(r"  (\d+) in  ", row[1])[1]) for row in read)  # type: ignore[index]


def test_figures_are_those_of_the_api(world: World) -> None:
    """A shop's day says what GET /stores/{id}/metrics and /funnel say for the same window."""
    from fastapi.testclient import TestClient

    from api.app import create_app
    from tests.api.conftest import as_reader

    window = last(24)
    window = type(window)(window.start.replace(microsecond=0), window.end.replace(microsecond=0))
    panels = {panel["id"]: panel for panel in BOARDS["aisleflow-shop"]["panels"]}

    def asked(panel: int, shop: str) -> dict[str, Any]:
        statement = as_sent(panels[panel]["targets"][0]["rawSql"], window, world.variables("aisleflow-shop", shop=shop))
        return next(iter(world.full.query(statement).named_results()))

    with TestClient(create_app(as_reader(world.settings), wall=False), base_url="http://127.0.0.1") as client:
        for shop in world.shops:
            span = {"from": window.start.isoformat(), "to": window.end.isoformat()}
            told = client.get(f"/stores/{shop.store_id}/metrics", params=span).json()
            people, money = asked(1, shop.store_id), asked(2, shop.store_id)
            assert people["Visitors"] == told["unique_visitors"] > 0
            assert people["Bought"] == pytest.approx(told["conversion_rate"], abs=6e-5)
            assert people["Bought, by receipt"] == pytest.approx(told["attributed_conversion_rate"], abs=6e-5)
            assert people["Gave up queueing"] == pytest.approx(told["abandonment_rate"], abs=6e-5)
            assert people["Stay in a zone"] == pytest.approx(told["avg_dwell_ms"], abs=1)
            assert money["Receipts"] == told["transactions"]
            assert money["Revenue"] == pytest.approx(told["revenue"], abs=0.01)
            assert money["Staff seen"] == told["staff_visits"]
            assert money["Missed at the door"] == told["unmatched_visitors"]
            steps = client.get(f"/stores/{shop.store_id}/funnel", params=span).json()
            assert list(asked(6, shop.store_id).values()) == [
                steps[name] for name in ("entry", "zone_visit", "billing_queue", "purchased")
            ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_ages_in_words(seconds: int, words: str, world: World) -> None:
    assert world.full.query(f"SELECT {sql.ago(str(seconds))}").result_rows == [(words,)]
