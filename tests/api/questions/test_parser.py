"""What questions mean, and which are refused."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp

from api.questions.lexicon import lexicon, vocabulary
from api.questions.measures import MEASURES
from api.questions.names import Names, Product, split, words_of
from api.questions.parser import MOST_CHARACTERS, NotUnderstood, parse
from api.questions.query import Query
from api.questions.sql import compile_query
from api.questions.times import WORDS
from api.questions.words import examples, near, sentence
from tests.api.questions.named import NAMES, NOW

TABLES = {
    *(
        "visitors",
        "visits_final",
        "zone_visits_final",
        "queue_waits",
        "queue_depth_final",
        "receipts",
        "products_final",
    ),
    *(
        "stock_movements_final",
        "stock_positions_final",
        "stock_discrepancies_final",
        "stock_outlook_final",
        "store_layouts_final",
        "anomalies_final",
    ),
}
MIDNIGHT = datetime(2026, 3, 18, tzinfo=UTC)
DAY, WEEK = (date(2026, 3, 17),) * 2, (date(2026, 3, 9), date(2026, 3, 15))


def asked(question: str, names: Names = NAMES, now: datetime = NOW) -> dict[str, Any]:
    """What was understood, without what was not said."""
    query = parse(question, names, now).query
    return {name: value for name, value in query.model_dump().items() if value not in (None, (), False)}


def of(measure: str, days: tuple[date, date] | None = None, **more: Any) -> dict[str, Any]:
    return {"measure": measure, **({"from_day": days[0], "to_day": days[1]} if days else {}), **more}


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("What do I need to restock today?", of("gaps")),
        ("what needs ordering in Leeds", of("gaps", stores=("ST1001",), action="ORDER")),
        ("Which shops are low on milk?", of("low", categories=("Milk",))),
        ("What sold out last week?", of("sold_out", WEEK)),
        ("How much of SKU 22423 is in the back in Leeds?", of("backroom", stores=("ST1001",), skus=("22423",))),
        ("How much oat milk is on the shelf?", of("shelf", skus=("10003",))),
        ("stock of LIP-01 in STORE_BLR_002", of("on_hand", stores=("STORE_BLR_002",), skus=("LIP-01",))),
        ("How many visitors did Leeds and York have yesterday?", of("visitors", DAY, stores=("ST1001", "ST1002"))),
        ("Which shop was busiest last week?", of("visitors", WEEK, by=("shop",), order="most", top=1)),
        ("bottom 2 shops by revenue yesterday", of("revenue", DAY, by=("shop",), order="least", top=2)),
        ("revenue per day in York last week", of("revenue", WEEK, stores=("ST1002",), by=("day",))),
        ("conversion by hour in York yesterday", of("conversion", DAY, stores=("ST1002",), by=("hour",))),
        ("How long do people stay in Dairy in Leeds yesterday", of("dwell", DAY, stores=("ST1001",), zones=("DAIRY",))),
        ("How long do people stay in Leeds yesterday", of("stay", DAY, stores=("ST1001",))),
        ("longest queue yesterday", of("queue_max", DAY)),
        ("How long is the queue in York now?", of("queue_now", stores=("ST1002",))),
        ("how many articles are low", of("low", count=True)),
        ("low stock by shop", of("low", by=("shop",), count=True)),
        ("What was on hand of milk in Leeds yesterday?", of("on_hand", stores=("ST1001",), categories=("Milk",), at=MIDNIGHT)),
        ("milk sales yesterday", of("units", DAY, categories=("Milk",))),
        ("sales yesterday", of("revenue", DAY)),
        ("What will run out in the next 24 hours in Leeds?", of("stockouts", stores=("ST1001",), ahead_hours=24)),
        ("will milk run out tomorrow", of("stockouts", categories=("Milk",), ahead_hours=33)),
        ("which products are about to sell out", of("stockouts", ahead_hours=48)),
        ("vistors in Leds yesterdy", of("visitors", DAY, stores=("ST1001",))),
    ],
)  # fmt: skip
def test_what_a_question_means(question: str, query: dict[str, Any]) -> None:
    assert asked(question) == query


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("hello", "hello"),
        ("How many visitors in Glasgow yesterday?", "glasgow"),
        ("How many unicorns did we sell?", "unicorns"),
        ("visitors and revenue yesterday", "one at a time"),
        ("visitors tomorrow", "lies ahead"),
        ("what will run out next week", "known|lies ahead"),
        ("what will run out in the next 5 days", "48 hours only"),
        ("Why is conversion down?", "not why"),
        ("profit last week", "costs"),
        ("delete all visitors", "an order"),
        ("visitors by sku yesterday", "article, zone|cannot"),
        ("revenue of milk chocolate in the Dairy zone", "does not go|known by|cannot"),
        ("conversion on 2026-02-31", "no day"),
        ("visitors on 03/04/2026", "may be two days"),
        ("visitors yesterday and last week", "two times"),
        ("queue now last week by hour", "."),
        ("visitors 17", "number"),
        ("milk bread in Leeds stock of chocolate 22423", "nothing in common"),
        ("in transit yesterday", "."),
        ("", "one question"),
        ("visitors " * 50, "longer|one question"),
    ],
)
def test_what_is_refused_with_its_reason(question: str, why: str) -> None:
    with pytest.raises(NotUnderstood) as refused:
        asked(question)
    assert re.search(why, str(refused.value), re.IGNORECASE), refused.value


def test_corrections_are_told() -> None:
    understood = parse("vistors in Leeds yesterday", NAMES, NOW)
    assert understood.corrections == (("vistors", "visitor"),)


def test_names_decide_before_near_words() -> None:
    """An article is what its name says, even if a measure has the word too."""
    names = Names(products={"1": Product("1", "Order Pad A5", "Paper"), "2": Product("2", "Visitor Book", "Paper")})
    assert asked("stock of visitor books", names) == of("on_hand", skus=("2",))
    assert asked("How many order pads were sold yesterday?", names)["skus"] == ("1",)


def test_a_whole_name_beats_part_of_another() -> None:
    names = Names(stores={"A": "Bath", "B": "Bath Road"})
    assert asked("visitors in Bath yesterday", names)["stores"] == ("A",)
    assert asked("visitors in Bath Road yesterday", names)["stores"] == ("B",)


def test_today_is_that_of_the_shop() -> None:
    late = datetime(2026, 3, 18, 20, tzinfo=UTC)  # already the 19th in Kolkata
    assert asked("visitors in STORE_BLR_002 today", now=late)["from_day"] == date(2026, 3, 19)
    assert asked("visitors in Leeds today", now=late)["from_day"] == date(2026, 3, 18)


def test_every_example_is_understood_as_its_measure() -> None:
    for name, measure in MEASURES.items():
        for text in measure.examples:
            question = text.format(shop="Leeds Briggate", sku="22423", category="Milk")
            assert asked(question)["measure"] == name, question
    assert len(examples(NAMES)) >= 30


def test_near_questions_can_be_answered() -> None:
    for question in ("how much profit", "milk?", "", "DROP TABLE visits", "wie viele Besucher"):
        for text in near(question, NAMES):
            parse(text, NAMES, NOW)


words = st.sampled_from(
    sorted({*vocabulary(), *NAMES.vocabulary, *WORDS, "leeds", "22423", "5", "2026-03-12", "10:30", "milk", "|"})
)
texts = st.one_of(
    st.text(max_size=MOST_CHARACTERS + 10),
    st.lists(words, max_size=12).map(" ".join),
    st.lists(st.sampled_from(sorted(" ".join(found) for found in lexicon())), max_size=6).map(" ".join),
)


@given(texts)
@example("since 10:30 between 9 and 12")
@example("at 24:00 visitors")
@example("in february 0000")
@example("visitors on 31 feb")
@example("last 999 weeks visitors")
@example("on 1 january 0001 visitors")
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Nothing else is raised; and what is understood becomes SQL that reads our views alone."""
    try:
        query = parse(text, NAMES, NOW).query
    except NotUnderstood as refused:
        assert str(refused)
        return
    statement = compile_query(query, NOW)
    assert_reads_only_ours(statement.sql)
    assert sentence(query, NAMES, NOW).endswith(".")


queries = st.builds(
    Query,
    measure=st.sampled_from(sorted(MEASURES)),
    by=st.sampled_from([(), ("shop",), ("day",), ("hour", "shop"), ("sku",), ("category",), ("zone",), ("weekday",)]),
    stores=st.sampled_from([(), ("'; DROP TABLE x --",), ("ZZ1", "ZZ2")]),
    skus=st.sampled_from([(), ("{now:String}",), ("ZZ`3",)]),
    categories=st.sampled_from([(), ("ZZ4'",)]),
    zones=st.sampled_from([(), ("ZZ5\\",)]),
    order=st.sampled_from([None, "most", "least"]),
    top=st.sampled_from([None, 1, 977]),
    count=st.booleans(),
).map(
    lambda query: (
        query.model_copy(update={"from_day": date(1977, 7, 7), "to_day": date(1977, 7, 9)})
        if len(query.by) == 1
        else query
    )
)


@given(queries)
def test_no_value_is_part_of_the_sql(query: Query) -> None:
    from api.questions.sql import QueryError

    try:
        statement = compile_query(query, NOW)
    except QueryError:
        return
    assert_reads_only_ours(statement.sql)
    for value in ("ZZ", "DROP", "1977", "977", "{now:String}"):
        assert value not in statement.sql
    for name, values in (
        ("stores", query.stores),
        ("skus", query.skus),
        ("categories", query.categories),
        ("zones", query.zones),
    ):
        assert list(values) == statement.parameters.get(name, [])


def assert_reads_only_ours(sql: str) -> None:
    (tree,) = sqlglot.parse(sql, dialect="clickhouse")
    assert isinstance(tree, exp.Select), sql
    parts = {cte.alias for cte in tree.find_all(exp.CTE)}
    assert {table.name for table in tree.find_all(exp.Table)} <= TABLES | parts, sql
    assert not list(tree.find_all(exp.Command, exp.Insert, exp.Drop))


def test_words_and_stems() -> None:
    assert split("What's the stock of semi-skimmed milk, in Leeds?") == [
        "what",
        "stock",
        "of",
        "semi",
        "skimmed",
        "milk",
        "in",
        "leeds",
    ]
    assert words_of("Shelves, deliveries & loaves: boxes, SKUs, class") == (
        "shelf",
        "delivery",
        "loaf",
        "box",
        "sku",
        "class",
    )
    assert split("at 10:30 on 2026-03-12") == ["at", "10:30", "on", "2026-03-12"]


def test_a_query_that_makes_no_sense_is_none() -> None:
    for wrong in (
        {"from_day": date(2026, 3, 2)},
        {"from_day": date(2026, 3, 2), "to_day": date(2026, 3, 1)},
        {"from_hour": 9, "to_hour": 9},
        {"since": NOW, "from_day": date(2026, 3, 2), "to_day": date(2026, 3, 2)},
        {"at": NOW.replace(tzinfo=None)},
        {"by": ("shop", "shop")},
        {"top": 0},
        {"limit": 5},
    ):
        with pytest.raises(ValueError):
            Query(measure="visitors", **wrong)


def test_long_windows_end_today() -> None:
    assert asked("visitors this month")["to_day"] == NOW.date()
    assert asked("visitors in the last 7 days") == of(
        "visitors", (NOW.date() - timedelta(days=7), NOW.date() - timedelta(days=1))
    )


def test_the_page_lists_what_can_be_asked() -> None:
    """`python -m benchmarks.questions --measures` writes it."""
    from benchmarks.questions import with_measures

    page = (Path(__file__).parents[3] / "docs" / "questions.md").read_text()
    assert with_measures(page) == page
