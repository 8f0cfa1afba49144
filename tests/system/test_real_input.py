"""Real material, from a file to an answer: a shop's till receipts, and a camera's clip, through Kafka and a worker."""

import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aisleflow.clients import clickhouse_client
from aisleflow.commands import camera
from aisleflow.settings import Settings
from producers.cameras import Entrance
from producers.publish import publish_transactions
from tests.producers.cameras.conftest import material, vision  # noqa: F401 - fixtures
from tests.producers.cameras.test_clips import AROUND_TABLE, START, TABLE_CLIP, layout_file
from tests.system.conftest import Workers

TILL = Path(__file__).parents[2].parent / "shared/data/events/pos_ST1008_2026-04-10.csv"


@pytest.fixture(scope="module", autouse=True)
def worker(workers: Workers) -> None:
    workers.start()


def test_a_shop_day_of_receipts(world: Settings, workers: Workers, ask: Any) -> None:
    if not TILL.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no real material at {TILL}")
    for _ in range(2):  # published again, it changes nothing
        publish_transactions(TILL, world, ZoneInfo("UTC"))
        workers.catch_up()
        told = ask("/stores/ST1008/metrics")
        assert (told["transactions"], told["revenue"], told["currency"]) == (24, 34331.71, "INR")
        assert told["business_day"] == "2026-04-10"


@pytest.mark.vision
def test_a_clip_of_six_visitors(
    world: Settings,
    workers: Workers,
    ask: Any,
    material: Path,  # noqa: F811
    vision: None,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Six people come to the table one after the other, for 17 seconds on average (clips_gt.csv)."""
    model = material / "models" / "yolov8n_int8_openvino_model"
    clip, layout = material / "clips" / TABLE_CLIP, layout_file(tmp_path, AROUND_TABLE)
    camera.run(clip, layout, settings=world, model=model, start=START, entrance=Entrance.FRAME, every=3)
    workers.catch_up()
    assert ask("/stores/CLIP-SHOP/metrics")["unique_visitors"] == 6
    assert ask("/stores/CLIP-SHOP/funnel") == {"entry": 6, "zone_visit": 6, "billing_queue": 0, "purchased": 0}
    floor = ask("/stores/CLIP-SHOP/heatmap")["FLOOR"]
    assert floor["frequency"] == 6
    assert floor["avg_dwell_ms"] == pytest.approx(17_000, abs=1_500)
    query = "SELECT kind, state, reason FROM camera_states FINAL WHERE store_id = 'CLIP-SHOP' ORDER BY timestamp, kind"
    states = clickhouse_client(world).query(query).result_rows
    assert (states[0], states[-1]) == (("CHANGE", "ONLINE", ""), ("END", "ONLINE", "the recording is over"))
