"""Numbers as people write them: what is read, and above all what is not."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.stock import numbers
from producers.stock.numbers import AMBIGUOUS, UNREADABLE, canonical, evidence, in_words, number

ONES = [
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
    ),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
]
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def spoken(value: int) -> str:
    """English words for a number below a thousand million."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10] + (f"-{ONES[value % 10]}" if value % 10 else "")
    if value < 1000:
        return f"{ONES[value // 100]} hundred" + (f" and {spoken(value % 100)}" if value % 100 else "")
    scale, name = (10**6, "million") if value >= 10**6 else (1000, "thousand")
    rest = value % scale
    return f"{spoken(value // scale)} {name}" + (f" {'and ' if rest < 100 else ''}{spoken(rest)}" if rest else "")


@pytest.mark.parametrize(
    ("raw", "decimal", "value"),
    [
        ("300", "", "300"),
        (" 300 ", "", "300"),
        ("0300", "", "300"),
        ("9.99", "", "9.99"),
        ("9,99", "", "9.99"),
        ("1.234,50", "", "1234.50"),
        ("1,234.50", "", "1234.50"),
        ("1,234,567", "", "1234567"),
        ("1.234.567", "", "1234567"),
        ("12,34,567.50", "", "1234567.50"),
        ("1.234", ".", "1.2340"),
        ("1.234", ",", "1234"),
        ("1,234", ".", "1234"),
        ("1,234", ",", "1.2340"),
        ("0,125", "", "0.125"),
        ("1234,567", "", "1234.567"),
        ("1 234,50", "", "1234.50"),
        ("1\u202f234", "", "1234"),
        ("1'234.50", "", "1234.50"),
        ("$1,234.50", "", "1234.50"),
        ("-$5", "", "-5"),
        ("$-5", "", "-5"),
        ("€ 9,99", "", "9.99"),
        ("9,99 €", "", "9.99"),
        ("Rs. 1,49,999.00", "", "149999.00"),
        ("12.50 GBP", "", "12.50"),
        ("(12.50)", "", "-12.50"),
        ("12-", "", "-12"),
        ("\u221212", "", "-12"),
        ("-0", "", "0"),
        (".5", "", "0.5"),
        ("5.", "", "5"),
        ("1e3", "", "1000"),
        ("two hundred", "", "200"),
        ("Two Hundred and Five", "", "205"),
        ("a dozen", "", "12"),
        ("half a dozen", "", "6"),
        ("2 dozen", "", "24"),
        ("three dozen", "", "36"),
        ("1.5k", "", "1500"),
        ("2K", "", "2000"),
        ("twenty-five", "", "25"),
        ("one thousand two hundred", "", "1200"),
    ],
)
def test_read(raw: str, decimal: str, value: str) -> None:
    assert number(raw, decimal).value == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        *((raw, AMBIGUOUS) for raw in ("1.234", "1,234", "$1,234", "12,345", "1.234k")),
        *(
            (raw, UNREADABLE)
            for raw in (
                *("lots", "a few", "a couple", "5-10", "~5", "5?", "1.2.3", "1,23,4", "12:30", "1.5m", "two twenty"),
                *("1,234,56", "1.234.56", "+-5", "5%", "0x10", "1 2", "two hundred thousand hundred", "twenty zero", "1.0001k", "$ €5"),
                *("one and two", "and", "dozen dozen"),
            )
        ),
        *((raw, numbers.MISSING) for raw in ("NaN", "n/a", "-", "unknown", "None")),
        ("", ""),
        ("   ", ""),
    ],
)  # fmt: skip
def test_not_read(raw: str, reason: str) -> None:
    cell = number(raw)
    assert (cell.value, cell.reason) == (None, reason)


@given(st.integers(0, 999_999_999))
def test_words_round_trip(value: int) -> None:
    assert in_words(spoken(value)) == value
    assert in_words(spoken(value).upper()) == value


@given(st.lists(st.sampled_from([*ONES, *TENS[2:], "hundred", "thousand", "million", "and", "a", "dozen"]), max_size=7))
def test_words_are_not_guessed(words: list[str]) -> None:
    """What is read can be said again: the words of the value are the words that were read, but for and, a and dozen."""
    value = in_words(" ".join(words))
    if value is None or "dozen" in words:
        return
    said = [word for word in words if word not in ("and", "a")]
    again = [word for word in spoken(value).replace("-", " ").split() if word != "and"]
    lenient = [word for word in again if word not in ("one", "hundred", "thousand", "million")]
    assert [word for word in said if word not in ("one", "hundred", "thousand", "million")] == lenient


@given(st.decimals(-(10**9), 10**9, places=4), st.sampled_from(["%s", "€%s", "%s EUR", " %s "]), st.booleans())
def test_thousands_and_decimals_round_trip(value: Decimal, form: str, comma: bool) -> None:
    written = f"{value:,.4f}"
    if comma:
        written = written.translate(str.maketrans(",.", ".,"))
    read = number(form % written)
    assert read.value is not None
    assert Decimal(read.value) == value


@given(st.text("0123456789.,' -+()kK€$", max_size=14), st.sampled_from(["", ".", ","]))
@example("-0.1", "")
def test_nothing_is_invented(raw: str, decimal: str) -> None:
    """Every digit of a value stands in the cell, in that order, but for zeros that mean nothing; and cleaning it again changes nothing."""
    cell = number(raw, decimal)
    if cell.value is None:
        assert cell.reason or not raw.strip()
        return
    if not any(letter in raw for letter in "kK"):
        digits = [letter for letter in raw if letter.isdigit()]
        assert "".join(digits).strip("0") == cell.value.replace(".", "").replace("-", "").strip("0")
    for other in ("", ".", ","):
        again = number(cell.value, other)
        assert (again.value, again.done) == (cell.value, "")


@given(st.text("0123456789.,", min_size=1, max_size=10))
def test_evidence_is_proof(raw: str) -> None:
    """A cell that proves a mark reads the same whatever the column says; one that proves none may not."""
    mark = evidence(raw)
    if mark:
        assert number(raw, "").value is not None
        assert number(raw, ".").value == number(raw, ",").value


@pytest.mark.parametrize(
    ("raw", "mark"),
    [
        ("9.99", "."),
        ("9,99", ","),
        ("1.234,5", ","),
        ("1,234.5", "."),
        ("1,234,567", "."),
        ("1.234", ""),
        ("12", ""),
        ("$9,5", ","),
        ("1.2.3", ""),
    ],
)
def test_evidence(raw: str, mark: str) -> None:
    assert evidence(raw) == mark


def test_written_so_that_nobody_takes_decimals_for_thousands() -> None:
    assert [canonical(value) for value in ("1.234", "999.125", "0.125", "1234.567", "1.2", "-1.234")] == [
        *("1.2340", "999.1250", "0.125", "1234.567", "1.2", "-1.2340")
    ]


@pytest.mark.parametrize(
    ("raw", "code"), [("€5", "EUR"), ("5 USD", "USD"), ("$5", ""), ("₹ 5", "INR"), ("5", ""), ("kr 5", "")]
)
def test_currency(raw: str, code: str) -> None:
    assert numbers.currency(raw) == code
