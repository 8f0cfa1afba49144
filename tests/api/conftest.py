"""An API in this process, and derived rows written as a worker would write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.app import create_app


def insert(settings: Settings, table: str, rows: list[dict[str, Any]]) -> None:
    """Write rows into a table; columns that a row lacks get their defaults."""
    with clickhouse_client(settings) as client:
        names = list(rows[0])
        client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


@pytest.fixture(scope="module")
def api(world: Settings) -> Iterator[TestClient]:
    """The API on real parts."""
    with TestClient(create_app(world, wall=False), base_url="http://127.0.0.1") as client:
        yield client
