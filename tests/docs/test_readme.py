"""README.md: its tour, run as it stands against real parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from tests.conftest import answers, free_port, process

ROOT = Path(__file__).resolve().parents[2]
TOUR = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.system
def test_tour(kafka: str, clickhouse: str, make_world: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_world(kafka, clickhouse)
    assert settings.clickhouse_url is not None
    server = urlsplit(settings.clickhouse_url.get_secret_value())
    assert server.password is not None
    # What `make demo` would have left there.
    state = tmp_path / ".local/state/aisleflow/demo"
    state.mkdir(parents=True)
    (state / "secrets.json").write_text(json.dumps({"clickhouse_analyst": server.password[::-1]}))
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    variables = {**os.environ, **environment(settings), "HOME": str(tmp_path)}
    places = {
        "localhost:8000": f"localhost:{settings.api_port}",
        "localhost:8123": f"localhost:{server.port}",
        "database=aisleflow": f"database={server.path.strip('/')}",
    }

    def walk(block: str) -> str:
        for place, here in places.items():
            block = block.replace(place, here)
        command = ["bash", "-euo", "pipefail", "-c", block.replace("curl ", "curl -sS --fail-with-body -w '\\n' ")]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def program(*words: str) -> list[str]:
        return [sys.executable, "-m", "aisleflow", *words]

    ask, publish, query, stock, outlook, predict = TOUR
    elsewhere = settings.model_copy(update={"metrics_port": free_port()})
    with (
        process(
            program("api"),
            tmp_path / "api.log",
            lambda: answers(settings.api_port, "/openapi.json"),
            environment(settings),
        ),
        process(
            program("worker"),
            tmp_path / "worker.log",
            lambda: answers(settings.metrics_port, "/metrics"),
            environment(settings),
        ),
        process(
            program("worker", "--derives", "stock"),
            tmp_path / "stock.log",
            lambda: answers(elsewhere.metrics_port, "/metrics"),
            environment(elsewhere),
        ),
    ):
        taken, metrics, funnel, heatmap, anomalies, health = map(json.loads, walk(ask).splitlines())
        assert (taken["inserted_events"], taken["duplicates"], taken["errors"], taken["processed"]) == (1, 0, 0, True)
        assert metrics["unique_visitors"] == 1
        assert funnel == {"entry": 1, "zone_visit": 0, "billing_queue": 0, "purchased": 0}
        assert heatmap == {}
        assert anomalies["store_id"] == "STORE_BLR_002"
        assert health["parts"]["workers"]["status"] == "up"
        assert json.loads(walk(ask).splitlines()[0])["duplicates"] == 1
        assert "2 sent" in walk(publish)
        assert re.search(r"STORE_BLR_002\W+1\W", walk(query))
        _, restock, heat = map(json.loads, walk(stock).splitlines())
        assert [(task["action"], task["backroom"]) for task in restock["tasks"]] == [("FILL_SHELF", 24)]
        assert heat
        stockouts, *listed = walk(outlook).splitlines()
        assert json.loads(stockouts)["store_id"] == "STORE_BLR_002"
        assert any("LIP-01" in line for line in listed), "without a published outlook it is worked out here"
        forecast, models = map(json.loads, walk(predict).splitlines())
        assert (forecast["productId"], forecast["forecast_range_start"]) == ("LIP-01", "2026-03-03")
        assert len(forecast["daily_predictions"]) == 7
        assert models["models"][0]["name"] == "champion"
