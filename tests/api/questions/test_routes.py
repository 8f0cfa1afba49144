"""Questions over HTTP, on the page and in the terminal; who may ask about what; and the record of it in ClickHouse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from aisleflow.clients import clickhouse_client
from aisleflow.settings import Settings
from api.app import create_app
from tests.api.conftest import as_reader, serve
from tests.api.rows import feed, fill, layout, visit

YESTERDAY = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
QUESTION = "How many visitors did Leeds have yesterday?"


@pytest.fixture(scope="module")
def stored(world: Settings) -> Settings:
    fill(
        world,
        store_feed=[feed("ST1001", YESTERDAY), feed("ST1002", YESTERDAY)],
        store_layouts=[
            {**layout("ST1001", "{}"), "name": "Leeds <b>Briggate</b>"},
            {**layout("ST1002", "{}"), "name": "York"},
        ],
        visits=[
            visit("ST1001", name, business_day=YESTERDAY.date(), started_at=YESTERDAY, ended_at=YESTERDAY)
            for name in "ABC"
        ],
    )
    return world


@pytest.fixture(scope="module")
def guarded(stored: Settings) -> Iterator[TestClient]:
    """The API with keys: one for everything, and one that may only ask, about York."""
    keys = {"api_keys": SecretStr("master"), "question_keys": SecretStr("york-key=ST1002")}
    with TestClient(
        create_app(as_reader(stored).model_copy(update=keys), wall=False), base_url="http://127.0.0.1"
    ) as client:
        yield client


def test_a_question_and_its_record(stored: Settings, worker: None, api: TestClient) -> None:
    answer = api.post("/questions", json={"question": QUESTION})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["answered"], found["rows"], found["source"]) == (True, [{"value": 3}], "rules")
    assert found["query"]["stores"] == ["ST1001"]
    refused = api.post("/questions", json={"question": "What is the profit?"}).json()
    assert not refused["answered"] and refused["near"]
    with clickhouse_client(stored) as client:
        deadline = time.monotonic() + 60
        while True:
            rows = {str(row[0]): row[1:] for row in client.query(_LOG).result_rows}
            if {found["question_id"], refused["question_id"]} <= rows.keys():
                break
            assert time.monotonic() < deadline, rows
            time.sleep(0.3)
    asked_by, question, outcome, source, sql, parameters, count = rows[found["question_id"]]
    assert (asked_by, question, outcome, source, count) == ("open", QUESTION, "ANSWERED", "RULES", 1)
    assert sql == found["sql"] and json.loads(parameters) == found["parameters"]
    assert rows[refused["question_id"]][2:5] == ("REFUSED", "NONE", "")


_LOG = "SELECT event_id, asked_by, question, outcome, source, sql, parameters, rows FROM question_log_final"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 422),
        (b'{"question": ""}', 422),
        (b'{"question": "x", "sql": "SELECT 1"}', 422),
        (b'{"question": "' + b"x" * 400 + b'"}', 422),
        (b'{"question": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
def test_bodies_that_are_no_question(api: TestClient, body: bytes, status: int) -> None:
    answer = api.post("/questions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_asked_of_some_shops_only(stored: Settings, api: TestClient) -> None:
    found = api.post("/questions", json={"question": "visitors by shop yesterday", "shops": ["ST1002"]}).json()
    assert found["rows"] == [] and found["parameters"]["stores"] == ["ST1002"]


def test_a_key_that_may_only_ask_opens_nothing_else(guarded: TestClient) -> None:
    limited = {"X-API-Key": "york-key"}
    assert guarded.post("/questions", json={"question": QUESTION}).status_code == 401
    assert guarded.get("/stores", headers=limited).status_code == 401
    assert guarded.get("/stores/ST1002/metrics", headers=limited).status_code == 401
    assert guarded.post("/stock/movements", headers=limited, json={"movements": []}).status_code == 401
    mine = guarded.post("/questions", headers=limited, json={"question": "visitors by shop yesterday"}).json()
    assert mine["answered"] and mine["parameters"]["stores"] == ["ST1002"]
    other = guarded.post("/questions", headers=limited, json={"question": QUESTION}).json()
    assert not other["answered"] and "Leeds" not in str(other["near"])
    stolen = guarded.post("/questions", headers=limited, json={"question": "visitors yesterday", "shops": ["ST1001"]})
    assert stolen.status_code == 403
    assert guarded.post("/questions", headers={"X-API-Key": "master"}, json={"question": QUESTION}).json()["rows"] == [
        {"value": 3}
    ]
    measures = guarded.get("/questions/measures", headers=limited).json()["measures"]
    assert {measure["name"] for measure in measures} >= {"visitors", "on_hand", "gaps"}
    assert "Leeds" not in json.dumps(measures)


def test_keys_that_name_no_shop_are_refused() -> None:
    for wrong in ("key", "key=", "=ST1", "key=ST1++ST2"):
        with pytest.raises(ValueError, match="KEY=SHOP"):
            Settings(_env_file=None, question_keys=SecretStr(wrong))
    assert Settings(_env_file=None, question_keys=SecretStr("a=S1+S2, b=S3")).question_key_shops == {
        "a": frozenset({"S1", "S2"}),
        "b": frozenset({"S3"}),
    }


@pytest.fixture(scope="module")
def served(stored: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(stored, tmp_path_factory.mktemp("api") / "log"):
        yield f"http://127.0.0.1:{stored.api_port}"


def ask_in_terminal(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "aisleflow", "ask", *arguments, "--url", url]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"}, timeout=60)


def test_in_the_terminal(served: str, tmp_path: Path) -> None:
    said = ask_in_terminal(served, QUESTION)
    assert said.returncode == 0, said.stderr
    assert (
        "Visitors, in Leeds" in said.stdout and "FROM visitors" in said.stdout and "stores = ['ST1001']" in said.stdout
    )
    assert json.loads(ask_in_terminal(served, QUESTION, "--json").stdout)["rows"] == [{"value": 3}]
    refused = ask_in_terminal(served, "hello")
    assert refused.returncode == 1 and "Ask for example:" in refused.stdout
    away = ask_in_terminal("http://127.0.0.1:9", QUESTION)
    assert away.returncode == 2 and "does not answer" in away.stderr


def test_on_the_page(served: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"{served}/ask")
    page.wait_for_selector(".near a")
    assert page.locator(".near a").count() >= 8
    page.fill("input[name=q]", QUESTION)
    page.click("button")
    page.wait_for_selector(".figure")
    assert page.inner_text(".figure").split() == ["3", "people"]
    assert "Leeds <b>Briggate</b>" in page.inner_text(".understood"), "names are text, whatever they hold"
    assert "FROM visitors" in page.inner_text("pre")
    page.fill("input[name=q]", "How many unicorns?")
    page.press("input[name=q]", "Enter")
    page.wait_for_selector(".banner.late")
    page.click(".near a >> nth=0")
    page.wait_for_selector(".understood")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing hangs out at the side"
    page.close()
