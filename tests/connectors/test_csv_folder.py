"""The drop folder: what is taken and when, where files and refused rows end, and going on after a crash at any batch."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from aisleflow.settings import Settings
from connectors import csv_folder
from connectors.csv_folder import CsvFolder, Folder
from connectors.pulling import Cursor, Pulled

FIELDS = {
    "store_id": "Shop",
    "timestamp": {"path": "Time", "time": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
    "sku": "Item Code",
    "kind": {"path": "Type", "lookup": {"in": "RECEIVE", "out": "SALE"}},
    "quantity": {"path": "Qty", "decimal": ","},
    "reason": "Note",
}
HEADER = "No;Shop;Time;Item Code;Type;Qty;Note"


def source(folder: Path, **changes: Any) -> CsvFolder:
    given = {
        "name": "drop",
        "folder": folder,
        "settle_s": 0,
        "map": {"to": "stock-movements", "identity": ["No"], "fields": FIELDS},
    }
    return CsvFolder(Folder.model_validate(given | changes), "erp", {}, Settings(_env_file=None))


def row(number: int, qty: str = "1,5", note: str = "") -> str:
    return f"{number};ST1;03.03.2026 14:22;A-{number % 7};in;{qty};{note}"


def drop(folder: Path, name: str, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    old = time.time() - 60
    os.utime(path, (old, old))
    return path


def taken(found: CsvFolder, cursor: Cursor | None = None) -> list[Pulled]:
    return [record for batch in found.batches(cursor or {}) for record in batch.records]


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_becomes_facts_and_ends_in_done(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", HEADER, row(1), row(2, "2"))
    found = taken(source(tmp_path))
    fact = orjson.loads(found[0].facts[0].value)
    assert fact | {"event_id": ""} == {
        "event_id": "",
        "store_id": "ST1",
        "timestamp": "2026-03-03T13:22:00Z",
        "sku": "A-1",
        "kind": "RECEIVE",
        "quantity": "1.5",
    }
    assert names(tmp_path) == ["done/a.csv"]
    again = drop(tmp_path, "a.csv", HEADER, row(1))
    assert [one.facts for one in taken(source(tmp_path))] == [found[0].facts], "the same row is the same fact"
    assert not again.exists()
    assert len(names(tmp_path)) == 2, "two files of one name are both kept"


def test_only_whole_files_are_taken(tmp_path: Path) -> None:
    for name in ("a.csv.part", ".a.csv", "a.txt", "a.csv~"):
        drop(tmp_path, name, HEADER, row(1))
    (tmp_path / "link.csv").symlink_to(drop(tmp_path, "target.txt", HEADER, row(1)))
    young = tmp_path / "young.csv"
    young.write_text(f"{HEADER}\n{row(1)}\n")
    assert taken(source(tmp_path, settle_s=30)) == []
    assert young.exists()


def test_a_file_that_grows_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", HEADER, row(1))
    batches = source(tmp_path).batches({})
    first = next(batches)
    with (tmp_path / "working/a.csv").open("a") as file:
        file.write(row(2) + "\n")
    rest = [record for batch in batches for record in batch.records]
    ids = {orjson.loads(fact.value)["event_id"] for one in [*first.records, *rest] for fact in one.facts}
    assert len(ids) == 2


def test_refused_rows_can_be_mended_and_dropped_again(tmp_path: Path) -> None:
    drop(
        tmp_path,
        "a.csv",
        HEADER,
        row(1),
        row(2, "lots"),
        "3;ST1;03.03.2026 14:22;A;sideways;1;",
        "4;ST1;too;few",
        row(5, note='"five\nlines"'),
        row(6, note='an 18" screen'),
        '7;ST1;03.03.2026 14:22;"never closed;in;1;',
        row(8),
    )
    found = taken(source(tmp_path))
    assert [(one.place, bool(one.facts)) for one in found] == [
        ("a.csv line 2", True),
        ("a.csv line 3", False),
        ("a.csv line 4", False),
        ("a.csv line 5", False),
        ("a.csv line 6", True),
        ("a.csv line 8", True),
        ("a.csv line 9", False),
        ("a.csv line 10", True),
    ]
    assert names(tmp_path) == ["done/a.csv", "rejected/a.csv", "rejected/a.csv.reasons.csv"]
    rejected = (tmp_path / "rejected/a.csv").read_text().splitlines()
    assert rejected[:2] == [HEADER, row(2, "lots")]
    assert len(rejected) == 5
    with (tmp_path / "rejected/a.csv.reasons.csv").open() as file:
        reasons = list(csv.DictReader(file))
    assert [one["line"] for one in reasons] == ["3", "4", "5", "9"]
    assert reasons[0]["field"] == "quantity"
    assert "'sideways'" in reasons[1]["reason"]
    drop(tmp_path, "mended.csv", HEADER, row(2, "20"))
    assert [len(one.facts) for one in taken(source(tmp_path))] == [1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "names a column twice"),
        ("a,\n1,2\n", "names a column twice, or not at all"),
    ],
)
def test_a_file_that_is_no_table_is_put_aside_with_the_reason(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    drop(tmp_path, "b.csv", HEADER, row(1))
    assert len(taken(source(tmp_path))) == 1, "the others go on"
    assert reason in (tmp_path / "rejected/a.csv.reasons.csv").read_text()
    assert (tmp_path / "rejected/a.csv").read_text() == content


def test_a_column_that_the_map_needs_and_the_file_lacks(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", "No;Shop", "1;ST1")
    assert taken(source(tmp_path)) == []
    assert "its header lacks Item Code, Note, Qty, Time, Type" in (tmp_path / "rejected/a.csv.reasons.csv").read_text()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "iso8859-15"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    drop(tmp_path, "a.csv", HEADER, row(1, note="Müll"), encoding=encoding)
    found = taken(source(tmp_path, encoding=encoding))
    assert orjson.loads(found[0].facts[0].value)["reason"] == "Müll"


def test_what_is_not_in_the_encoding_is_refused_alone(tmp_path: Path) -> None:
    path = drop(tmp_path, "a.csv", HEADER, row(1, note="Müll"), row(2), encoding="cp1252")
    found = taken(source(tmp_path))
    assert [bool(one.facts) for one in found] == [False, True]
    assert found[0].raw in (tmp_path / "done" / path.name).read_bytes(), "with its own bytes"


@pytest.mark.parametrize("lines", [40, 41])
def test_a_crash_after_any_batch_loses_and_doubles_nothing(
    tmp_path: Path, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor of batch n is kept, or that of n-1, when the machine goes off after batch n."""
    monkeypatch.setattr(csv_folder, "BATCH_ROWS", 7)
    rows = [row(n, "?" if n % 5 == 0 else "1") for n in range(lines)]
    drop(tmp_path, "whole.csv", HEADER, *rows)
    whole = taken(source(tmp_path))
    reasons = (tmp_path / "rejected/whole.csv.reasons.csv").read_bytes()
    for kept_behind in (0, 1):
        for crash_after in range(1, 8):
            name = f"c{kept_behind}{crash_after}.csv"
            drop(tmp_path, name, HEADER, *rows)
            records: list[Pulled] = []
            cursors: list[Cursor] = [{}]
            batches = source(tmp_path).batches({})
            for _ in range(crash_after):
                if (batch := next(batches, None)) is None:
                    break
                records += batch.records
                cursors.append(orjson.loads(orjson.dumps(batch.cursor)))
            batches.close()  # type: ignore[attr-defined]
            cursor = cursors[max(0, len(cursors) - 1 - kept_behind)]
            records += taken(source(tmp_path), cursor)
            facts = {fact.value for one in records for fact in one.facts}
            assert facts == {fact.value for one in whole for fact in one.facts}
            if kept_behind == 0:
                assert len(records) == lines
            assert (tmp_path / f"rejected/{name}.reasons.csv").read_bytes() == reasons
            assert (tmp_path / f"done/{name}").exists()


def test_rows_that_nothing_tells_apart_count_by_their_place(tmp_path: Path) -> None:
    given = {"to": "stock-movements", "identity": ["#row"], "fields": FIELDS}
    drop(tmp_path, "a.csv", HEADER, row(1), row(1))
    first = {fact.value for one in taken(source(tmp_path, map=given)) for fact in one.facts}
    drop(tmp_path, "b.csv", HEADER, row(1), row(1))
    again = {fact.value for one in taken(source(tmp_path, map=given)) for fact in one.facts}
    assert len(first) == 2
    assert again == first, "the same content under another name"


def test_neighbouring_rows_are_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "to": "orders",
        "identity": ["order"],
        "fields": {
            "store_id": {"const": "ST1"},
            "order_id": "order",
            "supplier_id": "supplier",
            "timestamp": {"path": "at", "time": "iso"},
            "status": {"const": "PLACED"},
            "lines": {"each": "rows", "fields": {"sku": "sku", "quantity": "qty"}},
        },
    }
    drop(
        tmp_path,
        "a.csv",
        "order,supplier,at,sku,qty",
        "1,S,2026-03-03,A,2",
        "1,S,2026-03-03,B,3",
        "x,y",
        "2,S,2026-03-03,A,9",
    )
    found = taken(source(tmp_path, map=given, group=["order"]))
    orders = [[line["sku"] for line in orjson.loads(one.facts[0].value)["lines"]] for one in found if one.facts]
    assert orders == [["A", "B"], ["A"]]
    assert [bool(one.refusal) for one in found] == [False, True, False]


def test_a_file_of_any_form_goes_through_clean(tmp_path: Path) -> None:
    drop(
        tmp_path,
        "stock.csv",
        "Artikelnummer;Bezeichnung;Menge;Filiale",
        "A1;Milk;12;ST1",
        "A2;Bread;three;ST1",
        "A3;Eggs;?;ST1",
    )
    found = taken(source(tmp_path, map=None, clean={}))
    counts = [orjson.loads(fact.value) for one in found for fact in one.facts]
    assert sorted((one["sku"], one["quantity"], one["kind"]) for one in counts) == [
        ("A1", "12", "COUNT"),
        ("A2", "3", "COUNT"),
    ]
    assert "done/stock.csv" in names(tmp_path)
    assert "done/stock.csv.report.html" in names(tmp_path)
    assert not [name for name in names(tmp_path) if name.startswith("working/")]
    reasons = (tmp_path / "rejected/stock.csv.reasons.csv").read_text()
    assert "how much there is" in reasons


def test_looking_moves_nothing(tmp_path: Path) -> None:
    drop(tmp_path, "a.csv", HEADER, row(1))
    batch = source(tmp_path).look()
    assert batch is not None
    assert len(batch.records) == 1
    assert names(tmp_path) == ["a.csv"]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(csv_folder, "BATCH_ROWS", 200)
    drop(tmp_path, "a.csv", HEADER, *(row(n) for n in range(4_000)))
    tracemalloc.start()
    count = sum(len(batch.records) for batch in source(tmp_path).batches({}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4_000
    assert peak < 3_000_000
