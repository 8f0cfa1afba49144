"""What a number of shops needs: hand-computed plans, and figures and page in step with what was measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from aisleflow.cli import app
from aisleflow.commands.capacity import MEASURED, Assumptions, costs, plan

ROOT = Path(__file__).parents[2]


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["capacity", *words])


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())


def test_a_chain_by_hand() -> None:
    made = plan(Assumptions(shops=1_000, visits=1_000, events=9.5, receipts=0.5, open_hours=10, peak=1.8, cameras=2))
    assert made.records_a_day == 10_000_000
    assert made.records_a_second == pytest.approx(500)
    assert (made.workers, made.brokers, made.clickhouse_replicas, made.partitions) == (2, 3, 2, 8)
    assert made.worker_gib == pytest.approx(330 / 1024 + 500_000 * 867 / 2**30)
    assert made.clickhouse_cores == pytest.approx(2 * 1.1 + 500 * 14.5e-6)
    assert made.kafka_gib_a_day == pytest.approx((9_500_000 * 388 + 500_000 * 391) / 2**30)
    assert made.camera_cores == pytest.approx(2_000 / 6.5)


def test_what_is_too_large_for_one_installation_is_cut_into_equal_ones() -> None:
    made = plan(Assumptions(shops=25_000, largest=10_000))
    assert (made.installations, made.shops) == (3, 8_334)


def test_many_visits_or_many_records_ask_for_workers_and_these_for_partitions() -> None:
    assert plan(Assumptions(shops=10_000, visits=2_000)).workers == 10  # 20 million visits
    busy = plan(Assumptions(shops=10_000, visits=200, events=3_000))
    assert busy.workers == 7  # 222,000 records/s at 11 µs in 0.35 of a core each
    assert busy.partitions == 32


@given(shops=st.integers(1, 200_000), visits=st.floats(1, 5_000), events=st.floats(1, 100), busy=st.floats(0.3, 0.9))
def test_every_plan_can_be_built(shops: int, visits: float, events: float, busy: float) -> None:
    given = Assumptions(shops=shops, visits=visits, events=events, busy=busy)
    made = plan(given)
    assert made.installations * made.shops >= shops
    assert 1 <= made.workers <= made.partitions
    assert made.partitions & (made.partitions - 1) == 0
    per_worker = made.records_a_second / made.workers * MEASURED["worker_us"].value / 1e6
    assert per_worker + MEASURED["worker_idle_cores"].value <= busy + 1e-9
    assert all(price >= 0 for _, price in costs(made, given))
    if made.installations == 1:
        doubled = plan(replace(given, visits=visits * 2))
        assert doubled.workers >= made.workers and doubled.clickhouse_tib >= made.clickhouse_tib


def _near(name: str, found: float) -> None:
    """The figure that we count with is the measured one, give or take a factor that a busy machine makes."""
    assert found / 1.7 <= MEASURED[name].value <= found * 1.7, (
        f"{name} was measured as {found:.4g} since: see docs/scale.md"
    )


def test_figures_are_those_measured() -> None:
    workers, soak, stored = result("scaling_workers"), result("soak"), result("storage")
    one = dict(zip(workers["columns"], workers["rows"][0], strict=True))
    _near("worker_us", 1e6 / one["records/s of their CPU"])
    _near("clickhouse_us", one["ClickHouse CPU µs a record"])
    seconds = soak["minutes"] * 60
    cores = {part: cpu / seconds for part, cpu in soak["cpu_seconds"].items()}
    rate = soak["sent_per_second"]
    _near("worker_idle_cores", cores["worker-0"] - rate * MEASURED["worker_us"].value / 1e6)
    _near("clickhouse_idle_cores", cores["clickhouse"] - rate * MEASURED["clickhouse_us"].value / 1e6)
    _near("kafka_us", cores["kafka"] / rate * 1e6)
    state = result("scaling_state")
    _near("visit_bytes", state["bytes_of_memory_per_open_visit"])
    _near("restart_s", state["seconds_back_per_million_visits"])
    _near("worker_mib", next(one for one in result("throughput") if one["engine"] == "aisleflow")["peak_mib"])
    _near("answer_ms", result("queries")["cpu_ms_a_request"])
    _near("cameras_a_core", result("camera")["cameras_of_5_looks"] / 2)
    weighed = {row[0].split(": ")[1]: row for row in stored["rows"]}
    _near("event_kafka_bytes", weighed["visit-events"][4])
    _near("event_bytes", weighed["events"][3] + weighed["event_ids"][3])
    for name, row in (("receipt_bytes", "transactions"), ("visit_row_bytes", "visits"), ("stay_bytes", "zone_visits")):
        _near(name, next(one[3] for one in stored["rows"] if one[0] == f"ClickHouse: {row}"))
    _near("receipt_kafka_bytes", next(one[4] for one in stored["rows"] if one[0] == "Kafka: transactions"))


def test_the_page_has_the_tables_of_the_command() -> None:
    page = (ROOT / "docs/scale.md").read_text()
    tables = run("--markdown").stdout.strip().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        assert table in page, "put what `aisleflow capacity --markdown` prints into docs/scale.md"


def test_the_page_s_shares_of_cost_are_the_command_s() -> None:
    page = (ROOT / "docs/scale.md").read_text()
    for shops, first in ((1_000, "ClickHouse's cores"), (100_000, "ClickHouse's disks")):
        given = Assumptions(shops=shops)
        ranked = [one for one in costs(plan(given), given) if not one[0].startswith("cameras")]
        share = ranked[0][1] / sum(price for _, price in ranked)
        assert f"| {shops:,} | {first} {100 * share:.0f} %" in page


def test_the_command_takes_own_numbers_and_says_what_it_does_not_know() -> None:
    told = json.loads(run("500", "--assume", "visits=800", "--json").stdout)
    assert told["plans"][0]["records_a_day"] == pytest.approx(500 * 800 * 11.3)
    assert told["assumptions"]["visits"] == 800
    assert told["measured"]["visit_bytes"]["source"] == "scaling_state"
    assert "100,000 shops" in run().stdout
    for wrong in ("nonsense=1", "visits", "visits=-1", "visits=many"):
        refused = run("--assume", wrong)
        assert refused.exit_code == 2 and "NAME=NUMBER" in refused.output
    assert run("--assume", "busy=0.2").exit_code == 2
