"""The file of terms: what names an article most closely holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from replenishment.policy import Terms
from replenishment.terms import TermsError, read_terms

TABLE = """store_id,category,sku,lead_time_days,pack,service_level,order_days,policy,supplier
,,,3,,0.9,,,
LEEDS,,,4,,,mon thu,,
,DAIRY,,1,,0.98,,RS,
LEEDS,DAIRY,,,6,,,,
,DAIRY,MILK,,12,,,,FARM
LEEDS,,MILK,0.5,,,,,
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "terms.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("store_id", "sku", "terms"),
    [
        ("YORK", "BREAD", Terms(3, service_level=0.9)),
        ("LEEDS", "BREAD", Terms(4, service_level=0.9, order_days=(1, 4))),
        ("YORK", "MILK", Terms(1, pack=12, service_level=0.98, policy="RS", supplier="FARM", category="DAIRY")),
        (
            "LEEDS",
            "MILK",
            Terms(0.5, pack=12, service_level=0.98, policy="RS", supplier="FARM", category="DAIRY", order_days=(1, 4)),
        ),
    ],
)
def test_the_closest_row_holds_value_by_value(book: Path, store_id: str, sku: str, terms: Terms) -> None:
    assert read_terms(book).terms(store_id, sku) == terms


def test_without_a_file_all_have_the_defaults() -> None:
    assert read_terms(None).terms("LEEDS", "MILK") == Terms()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sku,colour\nA,red\n", r"\['colour'\]; the columns are store_id"),
        ("", "no columns"),
        ("sku,pack\nA,a dozen\n", "line 2: pack is 'a dozen', which is no number"),
        ("sku,pack\nA,12\nA,6\n", "line 3: there is another row"),
        ("sku,pack\nA,0\n", "line 2: pack must be more than 0"),
        ("sku,policy\nA,EOQ\n", "it is sS or RS"),
        ("sku,order_days\nA,monday\n", "not 'monday'"),
        ("sku,pack\nA,1,2\n", "more values than columns"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "terms.csv"
    path.write_text(text)
    with pytest.raises(TermsError, match=complaint):
        read_terms(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TermsError, match="cannot be read"):
        read_terms(tmp_path / "none.csv")
