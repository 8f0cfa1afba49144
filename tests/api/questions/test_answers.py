"""Questions asked of a real ClickHouse: every measure, limits, the asker's shops, and what a model may do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aisleflow.settings import Settings
from api.app import create_app
from api.database import Database, LimitError, RejectedError
from api.questions import answers
from api.questions.answers import Answer, Asker, answer
from api.questions.catalogue import Catalogue
from api.questions.measures import MEASURES
from api.questions.model import Translator
from api.questions.parser import NotUnderstood
from api.questions.query import Query
from api.questions.sql import QueryError, compile_query
from tests.api.conftest import as_reader
from tests.api.questions.endpoint import Endpoint, running
from tests.api.questions.named import NOW
from tests.api.rows import anomaly, depth, fill, layout, transaction, visit, zone_visit

DAY = date(2026, 3, 17)
AT = datetime(2026, 3, 17, 12, tzinfo=NOW.tzinfo)


def moved(number: int, store: str, sku: str, kind: str, quantity: float, at: datetime, **more: Any) -> dict[str, Any]:
    place = more.get("location", "SHELF")
    sign = {"SALE": -1, "WASTE": -1, "RECEIVE": 1, "TRANSFER": -1}.get(kind, 0)
    return {
        "event_id": f"7e57f00d-0000-4000-8000-{number:012}",
        "store_id": store,
        "sku": sku,
        "timestamp": at,
        "kind": kind,
        "quantity": quantity,
        "location": place,
        "shelf": sign * quantity if place == "SHELF" else 0,
        "backroom": sign * quantity if place == "BACKROOM" else 0,
        "source": "MOVEMENT",
        "received_at": at,
        **more,
    }


def held(store: str, sku: str, shelf: float, backroom: float, gap: str) -> dict[str, Any]:
    known = {"shelf_known": True, "backroom_known": True, "in_transit": 0, "on_the_way": {}, "moved_at": AT}
    return {"store_id": store, "sku": sku, "shelf": shelf, "backroom": backroom, "gap": gap, "version": 1, **known}


def planned(store: str, sku: str, fill: float, order: float) -> dict[str, Any]:
    amounts = {
        "shelf": 4,
        "backroom": 20,
        "fill_quantity": fill,
        "order_quantity": order,
        "on_order": 0,
        "received_at": AT,
    }
    return {
        "store_id": store,
        "sku": sku,
        "made_at": AT,
        "model": "SeasonalNaive",
        "risk": [0.1] * 24 + [0.8] * 24,
        **amounts,
    }


@pytest.fixture(scope="module")
def stored(clickhouse: str, make_world: Callable[..., Settings]) -> Settings:
    """Two shops, three articles and a day, in a database of its own."""
    settings = make_world(None, clickhouse)
    midnight = AT - timedelta(hours=12)
    zones = '{"zones": [{"zone_id": "DAIRY", "type": "SHELF", "name": "Dairy"}]}'
    article = {"gtin": "", "unit": "pcs", "pack": 1, "timestamp": AT, "received_at": AT}
    here = {"business_day": DAY, "started_at": AT}
    gave_up = {"joined_queue": True, "abandoned_queue": True}
    fill(
        settings,
        store_layouts=[
            {**layout("ST1001", zones, "Europe/London", "GBP"), "name": "Leeds Briggate"},
            {**layout("ST1002", "{}", "Asia/Kolkata", "INR"), "name": "Mumbai Bandra"},
        ],
        products=[
            {"sku": "10001", "name": "Whole Milk 2 L", "category": "Milk", **article},
            {"sku": "22423", "name": "Regency Cakestand 3 Tier", "category": "Kitchenware", **article},
        ],
        visits=[
            visit("ST1001", "A", **here, ended_at=AT + timedelta(minutes=4), purchased=True),
            visit("ST1001", "B", **here, ended_at=AT + timedelta(minutes=8), **gave_up),
            visit("ST1001", "S", **here, ended_at=AT, is_staff=True, is_visitor=False),
            visit("ST1002", "C", **here, ended_at=AT),
        ],
        zone_visits=[
            zone_visit("ST1001", "A", "DAIRY", 30_000, business_day=DAY),
            zone_visit("ST1001", "B", "DAIRY", 90_000, business_day=DAY),
        ],
        queue_depth=[
            {**depth("ST1001", 0, people), "business_day": DAY, "timestamp": AT + timedelta(minutes=people)}
            for people in (2, 5, 6)
        ],
        transactions=[
            {**transaction("ST1001", "1", "10.50", currency="GBP"), "timestamp": AT},
            {**transaction("ST1001", "2", "20.00", currency=""), "timestamp": AT},
            {**transaction("ST1002", "3", "300", currency="INR"), "timestamp": AT},
        ],
        stock_movements=[
            moved(1, "ST1001", "10001", "COUNT", 5, midnight),
            moved(2, "ST1001", "10001", "COUNT", 20, midnight, location="BACKROOM"),
            moved(3, "ST1001", "10001", "SALE", 4, AT),
            moved(4, "ST1001", "10001", "RECEIVE", 3, AT + timedelta(hours=2)),
            moved(5, "ST1001", "22423", "COUNT", 2, midnight),
            moved(6, "ST1001", "22423", "SALE", 2, AT + timedelta(hours=1)),
            # 23:00 UTC is the next day in Kolkata
            moved(7, "ST1002", "10001", "SALE", 7, AT + timedelta(hours=11)),
        ],
        stock_positions=[
            held("ST1001", "10001", 4, 20, ""),
            held("ST1001", "22423", 0, 0, "ORDER"),
            held("ST1002", "10001", 9, 0, ""),
        ],
        stock_outlook=[planned("ST1001", "10001", 3, 0), planned("ST1001", "22423", 0, 12)],
        anomalies=[{**anomaly("ST1001", 0), "detected_at": AT, "business_day": DAY}],
    )  # fmt: skip
    return as_reader(settings)


@pytest.fixture(scope="module")
def ask(stored: Settings) -> Iterator[Callable[..., Answer]]:
    database = Database(stored)

    async def asked(question: str, shops: frozenset[str] | None, translator: Translator | None) -> Answer:
        names = await Catalogue(database).names()
        return await answer(question, Asker("test", shops), names, database, translator, NOW)

    def ask(question: str, shops: frozenset[str] | None = None, translator: Translator | None = None) -> Answer:
        return asyncio.run(asked(question, shops, translator))

    yield ask
    database.close()


@pytest.mark.parametrize(
    ("question", "values"),
    [
        ("visitors in Leeds yesterday", [2]),
        ("conversion in Leeds yesterday", [0.5]),
        ("How long did people stay in Leeds yesterday", [6.0]),
        ("dwell time in Dairy yesterday", [60.0]),
        ("longest queue yesterday in Leeds", [6]),
        ("queue in Leeds now", [6]),
        ("abandonment rate in Leeds yesterday", [1.0]),
        ("revenue yesterday", [30.5, 300]),
        ("average basket in Leeds yesterday", [15.25]),
        ("units of milk sold yesterday", [4]),
        ("units of milk sold today", [7]),
        ("How much milk is in the back in Leeds?", [20]),
        ("stock of milk in Leeds on 2026-03-17 at 13:00", [21]),
        ("stock of milk in Leeds yesterday", [24]),
        ("how many articles are out of stock in Leeds", [1]),
        ("how many articles are low in Leeds", [1]),
        ("how many articles will run out in the next 2 days", [2]),
        ("how many articles will run out in the next 12 hours", [0]),
        ("open alerts", None),
    ],
)
def test_answers_by_hand(ask: Callable[..., Answer], question: str, values: list[float] | None) -> None:
    found = ask(question)
    assert found.answered, found.reason
    assert found.sql
    if values is not None:
        assert [row["value"] for row in found.rows] == values
    else:
        assert [row["type"] for row in found.rows] == ["QUEUE_SPIKE"]


def test_what_to_restock_is_what_the_api_says(stored: Settings, ask: Callable[..., Answer]) -> None:
    found = ask("What do I need to restock in Leeds today?")
    assert [(row["sku"], row["action"], row["quantity"]) for row in found.rows] == [
        ("10001", "FILL_SHELF", 3),
        ("22423", "ORDER", 12),
    ]
    with TestClient(create_app(stored, wall=False), base_url="http://127.0.0.1") as api:
        tasks = api.get("/stores/ST1001/restock").json()["tasks"]
    assert [(task["sku"], task["action"], task["quantity"]) for task in tasks] == [
        ("10001", "FILL_SHELF", 3),
        ("22423", "ORDER", 12),
    ]
    assert [row["sku"] for row in ask("What needs ordering in Leeds?").rows] == ["22423"]


def test_an_answer_shows_what_it_rests_on(ask: Callable[..., Answer]) -> None:
    found = ask("What sold out in leds yesterday?")
    assert found.understood == "What sold out, in Leeds Briggate, on Tuesday 17 March 2026."
    assert [(row["shop"], row["product"]) for row in found.rows] == [("Leeds Briggate", "Regency Cakestand 3 Tier")]
    assert found.rows[0]["sold_out_at"] == AT + timedelta(hours=1)
    assert found.corrections == [("leds", "leeds")]
    assert found.parameters is not None and found.parameters["stores"] == ["ST1001"]
    assert found.window is not None and (found.window.from_day, found.window.to_day) == ("2026-03-17", "2026-03-17")
    assert found.measure is not None and found.measure.definition == MEASURES["sold_out"].definition
    assert found.source == "rules"


def test_what_is_not_understood_has_near_questions(ask: Callable[..., Answer]) -> None:
    found = ask("How many visitors did Glasgow have yesterday?")
    assert not found.answered and found.sql is None and not found.rows
    assert "glasgow" in (found.reason or "")
    assert any("visitors" in question.lower() for question in found.near)
    assert all(ask(question).answered for question in found.near)


def test_every_measure_by_every_dimension_runs(stored: Settings) -> None:
    """As the API's own user, who may only read."""
    database = Database(stored)
    names = {"stores": ("ST1001",), "skus": ("10001",), "categories": ("Milk",), "zones": ("DAIRY",)}
    tried = 0

    async def run(query: Query) -> None:
        nonlocal tried
        try:
            statement = compile_query(query, NOW)
        except QueryError:
            return
        tried += 1
        await database.limited(statement.sql, statement.parameters, answers.LIMITS)

    async def everything() -> None:
        for name, measure in MEASURES.items():
            days = {"from_day": date(2026, 3, 1), "to_day": DAY} if measure.has_days else {}
            for by in ((), *((dimension,) for dimension in measure.dimensions)):
                order = {"order": "most", "top": 3} if by and measure.kind != "list" else {}
                await run(Query(measure=name, by=by, count=measure.kind == "list" and bool(by), **days, **order))
            await run(Query(measure=name, at=NOW))
            await run(Query(measure=name, since=NOW - timedelta(hours=3)))
            for filters in ({"stores"}, {"stores", "skus", "categories"}, {"stores", "zones"}):
                await run(Query(measure=name, **days, **{key: names[key] for key in filters}))

    asyncio.run(everything())
    database.close()
    assert tried > 150


def test_a_limited_asker_sees_their_shops_only(ask: Callable[..., Answer]) -> None:
    mine = frozenset({"ST1002"})
    assert [row["store_id"] for row in ask("visitors by shop yesterday", mine).rows] == ["ST1002"]
    assert ask("visitors yesterday", mine).parameters["stores"] == ["ST1002"]
    other = ask("visitors in Leeds yesterday", mine)
    assert not other.answered and "leeds" in (other.reason or ""), "it is not even said that there is such a shop"
    assert "Leeds" not in str(other.near)
    with pytest.raises(NotUnderstood):
        answers.limited(Query(measure="visitors", stores=("ST1001",)), Asker("x", mine))


def test_limits_hold(stored: Settings) -> None:
    database = Database(stored)

    async def asked(sql: str, **limits: Any) -> None:
        await database.limited(sql, {}, limits)

    with pytest.raises(LimitError):
        asyncio.run(asked("SELECT visitor_id FROM visits", max_rows_to_read=1))
    with pytest.raises(RejectedError):
        asyncio.run(asked("SELECT nothing FROM visits"))
    database.close()


# --- With a model ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running() as found:
        yield found


def translator(endpoint: Endpoint, *, sql: bool = True, timeout_s: float = 5) -> Translator:
    return Translator(endpoint.url, "small", "secret", timeout_s, sql)


STRANGE = "wie viele Kunden gestern in Leeds"
VISITORS = {"measure": "visitors", "stores": ["ST1001"], "from_day": "2026-03-17", "to_day": "2026-03-17"}


def test_a_model_translates_into_the_measures(ask: Callable[..., Answer], endpoint: Endpoint) -> None:
    endpoint.said = [json.dumps({"query": VISITORS})]
    found = ask(STRANGE, translator=translator(endpoint))
    assert (found.answered, found.source, found.rows) == (True, "model", [{"value": 2}])
    assert "model" in found.notes[0]
    assert endpoint.keys[-1] == "Bearer secret"
    told = json.loads(endpoint.asked[-1]["messages"][1]["content"])
    assert told["names"]["shops"] == {"ST1001": "Leeds Briggate"}, "names that match, and no others"
    assert "10.5" not in json.dumps(endpoint.asked[-1]), "no rows go to a model"


def test_what_the_rules_understand_or_refuse_for_good_asks_no_model(
    ask: Callable[..., Answer], endpoint: Endpoint
) -> None:
    before = len(endpoint.asked)
    assert ask("visitors in Leeds yesterday", translator=translator(endpoint)).source == "rules"
    assert not ask("delete all visitors", translator=translator(endpoint)).answered
    assert not ask("profit yesterday", translator=translator(endpoint)).answered
    assert len(endpoint.asked) == before


@pytest.mark.parametrize(
    "said",
    [
        500,
        b"not json",
        b'{"choices": []}',
        b"x" * 100_000,
        "no JSON at all",
        '{"query": {"measure": "profit"}}',
        json.dumps({"query": {**VISITORS, "stores": ["ST9999"]}}),
        json.dumps({"query": {**VISITORS, "where": "1=1"}}),
        json.dumps({"query": {**VISITORS, "by": ["sku"]}}),
    ],
    ids=["error", "garbage", "empty", "huge", "prose", "no measure", "unknown shop", "injected field", "misfit"],
)
def test_what_a_model_says_wrongly_is_no_answer(ask: Callable[..., Answer], endpoint: Endpoint, said: Any) -> None:
    endpoint.said = [said]
    found = ask(STRANGE, translator=translator(endpoint, sql=False))
    assert not found.answered and found.sql is None and found.near


def test_a_slow_model_is_given_up(ask: Callable[..., Answer], endpoint: Endpoint) -> None:
    endpoint.said = [3.0]
    began = time.monotonic()
    assert not ask(STRANGE, translator=translator(endpoint, sql=False, timeout_s=0.3)).answered
    assert time.monotonic() - began < 2.5


def test_free_sql_comes_last_is_checked_and_marked(ask: Callable[..., Answer], endpoint: Endpoint) -> None:
    endpoint.said = [
        '{"query": null}',
        '{"sql": "SELECT store_id, count() AS n FROM visitors GROUP BY store_id ORDER BY n DESC"}',
    ]
    found = ask(STRANGE, translator=translator(endpoint))
    assert (found.answered, found.source) == (True, "sql")
    assert [(row["store_id"], row["n"]) for row in found.rows] == [("ST1001", 2), ("ST1002", 1)]
    assert "Read it" in found.notes[0]
    endpoint.said = ['{"query": null}', '{"sql": "SELECT store_id, count() AS n FROM visitors GROUP BY store_id"}']
    limited = ask(STRANGE, frozenset({"ST1002"}), translator(endpoint))
    assert [(row["store_id"], row["n"]) for row in limited.rows] == [("ST1002", 1)]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE visits",
        "SELECT * FROM system.users",
        "SELECT * FROM events",
        "SELECT * FROM url('http://127.0.0.1/', 'CSV')",
        "SELECT nothing FROM visitors",
        "WITH events AS (SELECT * FROM events) SELECT * FROM events",
    ],
)
def test_sql_of_a_model_that_may_not_run_does_not(ask: Callable[..., Answer], endpoint: Endpoint, sql: str) -> None:
    endpoint.said = ['{"query": null}', json.dumps({"sql": sql})]
    found = ask(STRANGE, translator=translator(endpoint))
    assert not found.answered and not found.rows and "model" in (found.reason or "")


def test_without_leave_no_sql_is_asked_for(ask: Callable[..., Answer], endpoint: Endpoint) -> None:
    endpoint.said = ['{"query": null}', '{"sql": "SELECT 1"}']
    before = len(endpoint.asked)
    assert not ask(STRANGE, translator=translator(endpoint, sql=False)).answered
    assert len(endpoint.asked) == before + 1


def test_no_model_is_asked_unless_one_is_configured() -> None:
    assert Translator.from_settings(Settings(_env_file=None)) is None
