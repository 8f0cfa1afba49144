"""Texts, identifiers, GTINs and amounts with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.stock import cells, gtin, units
from producers.stock.numbers import AMBIGUOUS, UNREADABLE
from producers.stock.units import Measure, measure


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (" gadget y ", "gadget y"),
        ("two\u00a0\u00a0 words\n", "two words"),
        ("zero\u200bwidth", "zero width"),
        ("Cafe\u0301", "Café"),
        ("NaN", None),
        (" N/A ", None),
        ("#REF!", None),
        ("NA", "NA"),
        ("None such", "None such"),
        ("a\x00b", "a b"),
        ("", None),
    ],
)
def test_text(raw: str, value: str | None) -> None:
    assert cells.text(raw).value == value


@given(st.text(max_size=20))
def test_text_is_clean_once_cleaned(raw: str) -> None:
    value = cells.text(raw).value
    if value is not None:
        assert cells.text(value) == cells.Cell(value)


@pytest.mark.parametrize(
    ("raw", "whole", "value"),
    [
        (" 00123 ", False, "00123"),
        ("85123a", False, "85123a"),
        ("17850.0", True, "17850"),
        ("17850.0", False, "17850.0"),
        ("4.00638E+12", False, None),
        ("15E2", False, "15E2"),
    ],
)
def test_identifier(raw: str, whole: bool, value: str | None) -> None:
    assert cells.identifier(raw, whole).value == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("4006381333931", "4006381333931"),
        ("4006381333931.0", "4006381333931"),
        ("4 006381 333931", "4006381333931"),
        ("036000291452", "036000291452"),
        ("36000291452", "036000291452"),
        ("96385074", "96385074"),
        ("00012345600012", "00012345600012"),
        ("4.006381333931E+12", "4006381333931"),
    ],
)
def test_gtin(raw: str, value: str) -> None:
    assert gtin.gtin(raw).value == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("4006381333932", "wrong check digit"),
        ("36000291453", "is not a GTIN: it has 11 digits"),
        ("4.00638E+12", "a spreadsheet rounded it (scientific notation): digits are lost"),
        ("123456", "is not a GTIN: it has 6 digits"),
        ("ABC", "is not a GTIN: it has other characters than digits"),
        ("123456789012345", "is not a GTIN: it has 15 digits"),
        ("n/a", cells.MISSING),
    ],
)
def test_not_a_gtin(raw: str, reason: str) -> None:
    assert (gtin.gtin(raw).value, gtin.gtin(raw).reason) == (None, reason)


@given(st.sampled_from([7, 11, 12, 13]), st.data())
def test_check_digits(length: int, data: st.DataObject) -> None:
    """One wrong digit never passes, and zeros taken off the front come back."""
    body = data.draw(st.text("0123456789", min_size=length, max_size=length))
    whole = body + str(gtin.check_digit(body))
    assert gtin.gtin(whole).value == whole
    place = data.draw(st.integers(0, length))
    wrong = whole[:place] + str((int(whole[place]) + 1) % 10) + whole[place + 1 :]
    assert gtin.gtin(wrong).value is None
    cut = whole.lstrip("0")
    restored = gtin.gtin(cut).value
    assert restored is None or restored.lstrip("0") == cut


@pytest.mark.parametrize(
    ("raw", "named", "value", "unit"),
    [
        ("5 kg", "", "5", "kg"),
        ("500g", "", "0.5", "kg"),
        ("2 lb", "", "0.90718474", "kg"),
        ("330 ml", "", "0.33", "l"),
        ("1,5 L", "", "1.5", "l"),
        ("24 pcs", "", "24", "pcs"),
        ("two kg", "", "2", "kg"),
        ("1,234.5 g", "", "1.2345", "kg"),
        ("500", "g", "0.5", "kg"),
        ("500", "box", "500", ""),
        ("5 kg", "kg", "5", "kg"),
        ("2500 g", "kg", "2.5", "kg"),
        ("1.5k", "", "1500", ""),
        ("12", "", "12", ""),
    ],
)
def test_measures(raw: str, named: str, value: str, unit: str) -> None:
    found = measure(raw, "", named)
    assert (found.amount.value, found.unit) == (value, unit)


def test_packs() -> None:
    assert measure("6x330ml") == Measure(cells.Cell("6", units.PACK), "pcs", "0.33", "l")
    assert measure("12 x 1,5 L") == Measure(cells.Cell("12", units.PACK), "pcs", "1.5", "l")


@pytest.mark.parametrize(
    ("raw", "named", "reason"),
    [
        ("5 kg", "pcs", "says kg where the column says pcs"),
        ("6x330ml", "kg", "says pcs where the column says kg"),
        ("5 bunches", "", UNREADABLE),
        ("3 m", "", UNREADABLE),
        ("1,250 g", "", AMBIGUOUS),
        ("kg", "", UNREADABLE),
        ("5 fl oz", "", UNREADABLE),
    ],
)
def test_not_a_measure(raw: str, named: str, reason: str) -> None:
    assert (measure(raw, "", named).amount.value, measure(raw, "", named).amount.reason) == (None, reason)


@pytest.mark.parametrize(
    ("raw", "value"), [("KGS", "kg"), ("Litres", "l"), ("each", "pcs"), ("box", "box"), ("-", None)]
)
def test_units(raw: str, value: str | None) -> None:
    assert units.unit(raw).value == value
