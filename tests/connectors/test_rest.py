"""REST APIs over real HTTP: an ERPNext- and an Odoo-shaped stub, with all the troubles that such systems give."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from aisleflow.settings import Settings
from connectors import http
from connectors.http import Api, Http, NotNow, Refused
from connectors.outbox import Outgoing
from connectors.pulling import ConnectError, Cursor, Pulled, Unavailable
from connectors.rest import Push, Resource, RestSource, RestTarget
from tests.connectors.stubs import Answer, ErpNext, Odoo, Request, serving
from tests.schemas.examples import EXAMPLES

FIELDS = {
    "store_id": {"path": "warehouse", "lookup": {"Stores": "ST1"}},
    "timestamp": {"path": "modified", "time": "iso"},
    "sku": "item_code",
    "kind": {"const": "RECEIVE"},
    "quantity": "actual_qty",
}
LEDGER: dict[str, Any] = {
    "name": "ledger",
    "path": "/api/resource/Stock Ledger Entry",
    "params": {
        "fields": ["name", "modified", "item_code", "warehouse", "actual_qty"],
        "filters": [["modified", ">=", "${since}"]],
        "order_by": "modified asc, name asc",
        "limit_start": "${offset}",
        "limit_page_length": "${limit}",
    },
    "records": "data",
    "id": "name",
    "since": {"path": "modified", "first": "2000-01-01 00:00:00", "overlap": 5},
    "page": {"style": "offset", "size": 10},
    "map": {"to": "stock-movements", "identity": ["name"], "fields": FIELDS},
}
HEADERS = {"Authorization": "token ${env:ERP_KEY}:secret"}
BEGIN = datetime(2026, 3, 3, 8)  # noqa: DTZ001 - as Frappe writes them


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_KEY", "key")


def entry(number: int, modified: datetime | None = None, **changes: Any) -> dict[str, Any]:
    at = modified or BEGIN + timedelta(seconds=number)
    return {
        "name": f"SLE-{number:05}",
        "modified": str(at),
        "item_code": "A",
        "warehouse": "Stores",
        "actual_qty": number,
    } | changes


def source(
    base_url: str, sleeps: list[float] | None = None, headers: dict[str, str] = HEADERS, **changes: Any
) -> RestSource:
    client = Http(
        Api(base_url=base_url, headers=headers, timeout_s=2, attempts=4),
        sleep=(sleeps if sleeps is not None else []).append,
    )
    return RestSource(Resource.model_validate(LEDGER | changes), client, "erp", {}, Settings(_env_file=None))


def taken(found: RestSource, cursor: Cursor | None = None) -> tuple[list[Pulled], Cursor]:
    records, kept = [], cursor or {}
    for batch in found.batches(cursor or {}):
        records += batch.records
        kept = orjson.loads(orjson.dumps(batch.cursor))
    return records, kept


def ids(records: list[Pulled]) -> list[str]:
    return [record.place.split()[-1] for record in records]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
def test_everything_once_and_then_only_what_is_new(count: int) -> None:
    erp = ErpNext([entry(n) for n in range(count)])
    with serving(erp) as url:
        first, cursor = taken(source(url))
        again, cursor = taken(source(url), cursor)
        erp.documents.append(entry(count + 1))
        new, _ = taken(source(url), cursor)
    assert ids(first) == [one["name"] for one in erp.documents[:count]]
    assert again == []
    assert ids(new) == [f"SLE-{count + 1:05}"]


def test_an_import_of_one_moment_over_many_pages() -> None:
    erp = ErpNext([entry(n, BEGIN) for n in range(47)] + [entry(99)])
    with serving(erp) as url:
        records, cursor = taken(source(url))
        again, _ = taken(source(url), cursor)
    assert sorted(ids(records)) == sorted(one["name"] for one in erp.documents)
    assert again == []


@pytest.mark.parametrize("seed", range(8))
def test_records_that_change_while_pages_are_read(seed: int) -> None:
    """After each page some that were read, or not, move to the end; new ones come. At the end each was seen as it is."""
    chance = random.Random(seed)
    # Some moments hold more records than a page does.
    erp = ErpNext([entry(n, BEGIN + timedelta(seconds=chance.choice((n, n // 20 * 20)))) for n in range(80)])
    changed = [0]

    def meanwhile(_: int) -> None:
        if changed[0] > 60:
            return
        for document in chance.sample(erp.documents, 3):
            changed[0] += 1
            document["modified"] = str(BEGIN + timedelta(seconds=1000 + changed[0] // 4))
        erp.documents.append(entry(1000 + changed[0], BEGIN + timedelta(seconds=1000 + changed[0] // 4)))

    erp.after_page = meanwhile
    with serving(erp) as url:
        records, cursor = taken(source(url))
        more, _ = taken(source(url), cursor)
    seen = {(orjson.loads(one.raw)["name"], orjson.loads(one.raw)["modified"]) for one in records + more}
    assert {(one["name"], one["modified"]) for one in erp.documents} <= seen


@pytest.mark.parametrize("crash_after", range(1, 8))
def test_a_crash_after_any_page_loses_nothing(crash_after: int) -> None:
    erp = ErpNext([entry(n, BEGIN + timedelta(seconds=n // 15)) for n in range(60)])
    with serving(erp) as url:
        records: list[Pulled] = []
        cursor: Cursor = {}
        batches = source(url).batches({})
        for _ in range(crash_after):
            batch = next(batches)
            records += batch.records
            cursor = orjson.loads(orjson.dumps(batch.cursor))
        batches.close()  # type: ignore[attr-defined]
        rest, _ = taken(source(url), cursor)
    assert set(ids(records + rest)) == {one["name"] for one in erp.documents}
    facts = {fact.value for one in records + rest for fact in one.facts}
    assert len(facts) == 60, "what is pulled twice is the same fact"


def test_what_becomes_visible_late_is_found() -> None:
    erp = ErpNext([entry(1), entry(10)])
    with serving(erp) as url:
        _, cursor = taken(source(url))
        erp.documents.append(entry(7))  # its transaction began before that of 10 and ended after
        late, _ = taken(source(url), cursor)
    assert ids(late) == ["SLE-00007"]


def test_troubles_are_waited_out() -> None:
    troubles: list[Answer | None] = [
        (429, {"exc_type": "TooManyRequestsError"}, {"Retry-After": "7"}),
        (500, b"<html>Internal Server Error</html>", {}),
        None,
    ]
    erp = ErpNext([entry(n) for n in range(5)], troubles)
    sleeps: list[float] = []
    with serving(erp) as url:
        records, _ = taken(source(url, sleeps))
    assert len(records) == 5
    assert sleeps[0] == 7
    assert 0.25 <= sleeps[1] <= 2


def test_a_system_that_stays_away_puts_the_pull_off() -> None:
    with serving(ErpNext([], [(503, {}, {})] * 9)) as url, pytest.raises(Unavailable, match="answers 503"):
        taken(source(url))
    with pytest.raises(Unavailable, match="refused"):
        taken(source("http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((403, {"exc_type": "PermissionError"}, {}), "answers 403"),
        ((302, {}, {"Location": "http://169.254.169.254/"}), "not followed"),
        ((200, {"data": "none"}, {}), "is no list"),
        ((200, {"data": [{"modified": "2026-01-01 00:00:00"}]}, {}), "has no name"),
        ((200, {"data": [{"name": "a"}]}, {}), "has no modified"),
        ((200, {"data": [{"name": "a", "modified": "soon"}]}, {}), "is no time"),
        ((200, {"data": [entry(2), entry(1)]}, {}), "not ordered by"),
    ],
)
def test_what_trying_again_cannot_mend_is_said(answer: Answer, message: str) -> None:
    with serving(lambda _: answer) as url, pytest.raises(ConnectError, match=message):
        taken(source(url))


def test_the_same_page_for_ever_does_not_go_on_for_ever() -> None:
    page = [entry(n, BEGIN) for n in range(10)]
    with serving(lambda _: (200, {"data": page}, {})) as url, pytest.raises(Unavailable, match="same page again"):
        taken(source(url))


def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_BYTES", 1000)
    with (
        serving(lambda _: (200, {"data": "x" * 2000}, {})) as url,
        pytest.raises(ConnectError, match="more than 1,000 bytes"),
    ):
        taken(source(url))


def test_a_missing_secret_is_named_and_secrets_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERP_KEY")
    with pytest.raises(ConnectError, match="no variable ERP_KEY"):
        source("http://127.0.0.1:9")


def test_an_odoo() -> None:
    moves = [
        {
            "id": n,
            "write_date": f"2026-03-03 08:00:{n // 25:02}",
            "product_id": [n, f"[SKU-{n}] Mug"],
            "quantity": 2.0,
            "location_dest_id": [8, "WH/Stock"],
            "reference": False,
        }
        for n in range(60)
    ]
    odoo = Odoo(moves)
    with serving(odoo) as url:
        found = source(
            url,
            headers={"Authorization": "bearer ${env:ERP_KEY}", "X-Odoo-Database": "shop"},
            name="moves",
            method="POST",
            path="/json/2/stock.move.line/search_read",
            params={},
            body={
                "domain": [["write_date", ">=", "${since}"]],
                "fields": ["id", "write_date", "product_id", "quantity", "location_dest_id", "reference"],
                "order": "write_date, id",
                "limit": "${limit}",
                "offset": "${offset}",
            },
            records="@",
            id="id",
            since={"path": "write_date", "first": "2000-01-01 00:00:00", "write": "%Y-%m-%d %H:%M:%S"},
            map={
                "to": "stock-movements",
                "identity": ["id"],
                "fields": {
                    "store_id": {"path": "location_dest_id[1]", "lookup": {"WH/Stock": "ST1"}},
                    "timestamp": {"path": "write_date", "time": "iso"},
                    "sku": "product_id[0]",
                    "kind": {"const": "RECEIVE"},
                    "quantity": "quantity",
                    "location": {"const": "BACKROOM"},
                    "reference": "reference",
                },
            },
        )
        records, _ = taken(found)
    assert len({fact.value for one in records for fact in one.facts}) == 60
    fact = orjson.loads(records[0].facts[0].value)
    assert (fact["sku"], fact["quantity"], "reference" in fact) == ("0", "2.0", False)


@pytest.mark.parametrize("style", ["page", "cursor", "link"])
def test_other_ways_of_paging(style: str) -> None:
    documents = [entry(n) for n in range(25)]

    def answer(request: Request) -> Answer:
        start = {
            "page": (int(request.params.get("page", 1)) - 1) * 10,
            "cursor": int(request.params.get("cursor", 0)),
            "link": int(request.params.get("start", 0)),
        }[style]
        found = [one for one in documents if one["modified"] >= request.params.get("since", "")]
        more = len(found) > start + 10
        headers = (
            {"Link": f'<{url}/x?start=0>; rel="first", </x?start={start + 10}>; rel="next"'.replace("</x", f"<{url}/x")}
            if more
            else {}
        )
        return 200, {"data": found[start : start + 10], "next": start + 10 if more else None}, headers

    page = {"style": style, "size": 10} | ({"next": "next"} if style == "cursor" else {})
    with serving(answer) as url:
        params = {"since": "${since}", "page": "${page}", "cursor": "${cursor}"}
        records, cursor = taken(source(url, page=page, params=params))
        again, _ = taken(source(url, page=page, params=params), cursor)
    assert set(ids(records)) == {one["name"] for one in documents}
    assert again == []


def test_links_to_another_server_are_not_followed() -> None:
    with (
        serving(lambda _: (200, {"data": [entry(1)]}, {"Link": '<http://127.0.0.1:1/x>; rel="next"'})) as url,
        pytest.raises(ConnectError, match="another server"),
    ):
        taken(source(url, page={"style": "link"}))


# --- pushing -------------------------------------------------------------------------------------------------------------

ORDER = {
    "event_id": "7d0c0a2e-6a53-5d0e-9f36-0d7d4a6b0f11",
    "store_id": "ST1",
    "order_id": "PO-1",
    "supplier_id": "Mugs Ltd",
    "status": "PLACED",
    "timestamp": "2026-03-03T20:00:00Z",
    "expected_at": "2026-03-06T20:00:00Z",
    "lines": [{"sku": "A", "quantity": "24"}],
}
PURCHASE: dict[str, Any] = {
    "name": "purchase-orders",
    "topic": "orders",
    "when": "status == 'PLACED'",
    "since": "beginning",
    "find": {
        "path": "/api/resource/Purchase Order",
        "params": {"filters": [["aisleflow_id", "=", "${event_id}"]]},
        "found": "data[0].name",
    },
    "path": "/api/resource/Purchase Order",
    "body": {
        "aisleflow_id": "${event_id}",
        "supplier": "${supplier_id}",
        "schedule_date": {
            "$value": {"path": "expected_at", "time": "iso", "write": "%Y-%m-%d", "zone": "Asia/Kolkata"}
        },
        "items": {
            "$each": "lines",
            "item": {"item_code": "${sku}", "qty": {"$value": {"path": "quantity", "as_number": True}}},
        },
    },
}


def target(base_url: str, **changes: Any) -> RestTarget:
    client = Http(Api(base_url=base_url, headers=HEADERS, timeout_s=1))
    return RestTarget(Push.model_validate(PURCHASE | changes), client, "erp", {})


def outgoing(order: dict[str, Any]) -> Outgoing:
    return Outgoing(str(order["event_id"]), "orders", "ST1", orjson.dumps(order), 0)


def test_an_order_is_made_once_however_often_it_is_sent() -> None:
    erp = ErpNext([])
    with serving(erp) as url:
        found = target(url)
        assert found.takes(outgoing(ORDER))
        assert not found.takes(outgoing({**ORDER, "status": "RECEIVED"}))
        assert not found.takes(replace(outgoing(ORDER), origin="erp")), "it told us itself"
        found.deliver(outgoing(ORDER))
        found.deliver(outgoing(ORDER))
    assert erp.made == [
        {
            "aisleflow_id": ORDER["event_id"],
            "supplier": "Mugs Ltd",
            "schedule_date": "2026-03-07",
            "items": [{"item_code": "A", "qty": 24.0}],
            "name": "PUR-ORD-00001",
        }
    ]


def test_what_to_order_becomes_a_request_for_each_article_and_day() -> None:
    """The document's own example, fed what `aisleflow restock` publishes, twice."""
    import re

    import yaml

    text = (Path(__file__).parents[2] / "docs/connectors.md").read_text()
    given = yaml.safe_load(re.findall(r"```yaml\n(connector: erpnext-requests.*?)```", text, re.DOTALL)[0])
    outlook = json.loads((EXAMPLES / "stock-outlook" / "order-and-fill.json").read_text())
    wanted = [line["sku"] for line in outlook["lines"] if line.get("order_quantity", 0) > 0]
    lookups = {"warehouses": {outlook["store_id"]: "Stores"}}
    erp = ErpNext([])
    with serving(erp) as url:
        found = RestTarget(
            Push.model_validate(given["push"][0]), Http(Api(base_url=url, headers=HEADERS)), "erp", lookups
        )
        for _ in range(2):
            found.deliver(Outgoing("1", "stock-outlook", "ST1", orjson.dumps(outlook), 0))
    assert wanted
    assert [one["items"][0]["item_code"] for one in erp.made] == wanted
    assert erp.made[0]["items"][0]["warehouse"] == "Stores"
    assert erp.made[0]["items"][0]["qty"] > 0
    assert erp.made[0]["aisleflow_day"] == erp.made[0]["schedule_date"]


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ((417, {"exc_type": "ValidationError"}, {}), Refused),
        ((500, {}, {}), NotNow),
        ((429, {}, {"Retry-After": "3"}), NotNow),
        ((401, {}, {}), NotNow),
        (None, NotNow),
    ],
)
def test_what_is_of_the_record_is_refused_and_what_is_not_waits(trouble: Answer | None, error: type[Exception]) -> None:
    erp = ErpNext([], ["fine", trouble])  # type: ignore[list-item]
    with serving(erp) as url, pytest.raises(error):
        target(url).deliver(outgoing(ORDER))
