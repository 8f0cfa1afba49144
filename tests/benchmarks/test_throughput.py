"""The throughput benchmark compares like with like: every engine writes the rows that the log makes, also after ``kill -9``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.app import create_app
from benchmarks.peers import agreement
from benchmarks.throughput import ENGINES, MIXES, Bench, publish
from producers.simulator.answers import World
from producers.simulator.shops import layouts, make_shops
from schemas.topics import STORE_LAYOUTS
from tests.system.truth import LAYOUTS_MADE, wrong_answers

RECORDS = 3_000


@pytest.fixture(scope="module")
def shops() -> list[object]:
    return [replace(shop, dialect=False) for shop in make_shops(6, 1)]


@pytest.fixture(scope="module")
def setting(kafka: str, clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    return make_world(kafka, clickhouse)


@pytest.fixture(scope="module")
def world(setting: Settings, shops: list) -> World:
    """The backlog, as the independent oracle knows it."""
    feed = publish(setting, shops, RECORDS, MIXES["ordinary"])
    feed.sent[:0] = [(STORE_LAYOUTS.name, store_id, layout) for store_id, layout in layouts(shops, LAYOUTS_MADE)]
    return feed.world()


@pytest.fixture(scope="module")
def bench(setting: Settings, clickhouse: str, shops: list, world: World) -> Bench:
    return Bench(setting, clickhouse, shops)


def test_truth_gives_the_oracles_answers(bench: Bench, world: World) -> None:
    assert bench.records == RECORDS
    with TestClient(create_app(bench.truth, wall=False), base_url="http://127.0.0.1") as api:
        wrong = wrong_answers(world, lambda path: api.get(path).json(), settle_s=0)
    # Nobody watches for anomalies here.
    assert [answer for answer in wrong if "/anomalies" not in answer] == []


def test_comparison_sees_a_missing_a_wrong_and_a_superfluous_row(bench: Bench) -> None:
    client = clickhouse_client(bench.truth)
    truth = bench.truth.consumer_group
    other = bench.database("other").consumer_group
    assert len(agreement.differences(client, other, truth, agreement.RAW)) == 4
    for table in (*agreement.RAW, *agreement.DERIVED):
        client.command(f"INSERT INTO `{other}`.`{table}` SELECT * FROM `{truth}`.`{table}` FINAL")
    both = {**agreement.RAW, **agreement.DERIVED}
    assert agreement.differences(client, other, truth, both) == []
    client.command(
        f"INSERT INTO `{other}`.visits SELECT * REPLACE (NOT purchased AS purchased, version + 1 AS version) "
        f"FROM `{truth}`.visits FINAL LIMIT 1"
    )
    client.command(
        f"INSERT INTO `{other}`.zone_visits SELECT * REPLACE (ordinal + 100 AS ordinal) "
        f"FROM `{truth}`.zone_visits FINAL LIMIT 1"
    )
    found = agreement.differences(client, other, truth, both)
    assert [line.split(":")[0] for line in found] == ["visits", "visits", "zone_visits", "zone_visits"]


@pytest.mark.system
@pytest.mark.parametrize(("name", "kill"), [("aisleflow", False), ("faust", True), ("floor", False)])
def test_engine_writes_what_the_log_makes(bench: Bench, name: str, kill: bool) -> None:
    figures = bench.run(ENGINES[name], int(kill), kill=kill)
    assert figures.differences == []
    assert figures.peak_mib > 0
    assert figures.cpu_s > 0
