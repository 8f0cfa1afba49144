"""The notebook runs from its first cell to its last on the ledger of a shop, and is kept without outputs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebooks" / "demand.ipynb"


def test_it_is_kept_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert len(cells) > 4 and all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_it_runs(
    clickhouse: str, make_world: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, random = make_world(None, clickhouse), np.random.default_rng(1)
    columns = [
        "event_id",
        "store_id",
        "sku",
        "timestamp",
        "kind",
        "quantity",
        "location",
        "shelf",
        "backroom",
        "source",
    ]
    first = datetime(2026, 1, 1, 10, tzinfo=UTC)
    sold = [
        (store, sku, first + timedelta(days=day), int(random.poisson(level + 3 * (day % 7 == 5))))
        for store in ("S1", "S2")
        for sku, level in (("MILK", 9), ("BREAD", 4), ("SOAP", 0.3))
        for day in range(70)
    ]
    rows = [
        (uuid.UUID(int=number), store, sku, at, "SALE", units, "SHELF", -units, 0, "MOVEMENT")
        for number, (store, sku, at, units) in enumerate(sold)
        if units
    ]
    with clickhouse_client(world) as client:
        client.insert("stock_movements", rows, columns)
    assert world.clickhouse_url is not None
    monkeypatch.setenv("AISLEFLOW_CLICKHOUSE_URL", world.clickhouse_url.get_secret_value())
    monkeypatch.setenv("AISLEFLOW_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # pictures go into the page, as in Jupyter
    book = nbformat.read(NOTEBOOK, 4)
    client = NotebookClient(book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    asyncio.run(client.async_execute())
    answers = [
        "".join(str(out.get("data", {}).get("text/plain", "")) for out in cell.get("outputs", []))
        for cell in book.cells
    ]
    assert "four-weeks" in answers[-2] and "champion" in answers[-2]
    pictures = [out for cell in book.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) == 1
    nbformat.write(book, tmp_path / "out.ipynb")
