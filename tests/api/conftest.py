"""An API in this process, and derived rows written as a worker would write them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from aisleflow.supervisor import environment
from api.app import create_app
from api.database import Database
from tests.conftest import answers, process


def insert(settings: Settings, table: str, rows: list[dict[str, Any]]) -> None:
    """Write rows into a table; columns that a row lacks get their defaults."""
    with clickhouse_client(settings) as client:
        names = list(rows[0])
        client.insert(table, [[row[name] for name in names] for row in rows], column_names=names)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the API asks ClickHouse, from now on."""
    asked, rows = list[str](), Database.rows

    async def remembered(self: Database, sql: str, parameters: Any = None) -> Any:
        asked.append(sql)
        return await rows(self, sql, parameters)

    monkeypatch.setattr(Database, "rows", remembered)
    return asked


@pytest.fixture(scope="module")
def worker(world: Settings) -> Iterator[None]:
    """A worker that derives stock, and keeps what is only brought to ClickHouse."""
    child = subprocess.Popen(
        [sys.executable, "-m", "aisleflow", "worker", "--derives", "stock"],
        env={**os.environ, **environment(world)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    child.terminate()
    child.wait()


def as_reader(settings: Settings) -> Settings:
    """The same settings with the API's own user, who can only read (``tests.conftest.running_clickhouse``)."""
    assert settings.clickhouse_url is not None
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    place = url._replace(netloc=f"reader:{url.password}-reader@{url.hostname}:{url.port}")
    return settings.model_copy(update={"clickhouse_url": SecretStr(place.geturl())})


def serve(settings: Settings, log: Path) -> AbstractContextManager[Any]:
    """``aisleflow api`` with these settings, as a process."""
    settings = as_reader(settings)
    assert settings.clickhouse_url is not None
    environment = {
        "AISLEFLOW_KAFKA": settings.kafka_bootstrap,
        "AISLEFLOW_CLICKHOUSE_URL": settings.clickhouse_url.get_secret_value(),
        "AISLEFLOW_TOPIC_PREFIX": settings.topic_prefix,
        "AISLEFLOW_CONSUMER_GROUP": settings.consumer_group,
        "AISLEFLOW_API_PORT": str(settings.api_port),
        "AISLEFLOW_API_KEYS": settings.api_keys.get_secret_value() if settings.api_keys else "",
    }
    command = [sys.executable, "-m", "aisleflow", "api"]
    return process(command, log, lambda: answers(settings.api_port, "/login"), environment)


@pytest.fixture(scope="module")
def api(world: Settings) -> Iterator[TestClient]:
    """The API on real parts."""
    with TestClient(create_app(as_reader(world), wall=False), base_url="http://127.0.0.1") as client:
        yield client
