"""Amounts with units: pieces, kilograms, litres, and packs such as ``6x330ml``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from producers.stock import numbers
from producers.stock.cells import Cell, squeezed, text

PIECES = "pcs"
# What each spelling is in our unit. A pound is 0.45359237 kg and an ounce a sixteenth of it (international yard and
# pound agreement, 1959). Fluid ounces and gallons are left out: which country's is not known.
_FACTORS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("kg", "kgs", "kilo", "kilos", "kilogram", "kilograms"), ("kg", "1")),
    **dict.fromkeys(("g", "gr", "gm", "gms", "gram", "grams"), ("kg", "0.001")),
    "mg": ("kg", "0.000001"),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds"), ("kg", "0.45359237")),
    **dict.fromkeys(("oz", "ounce", "ounces"), ("kg", "0.028349523125")),
    **dict.fromkeys(("l", "lt", "ltr", "liter", "liters", "litre", "litres"), ("l", "1")),
    "dl": ("l", "0.1"),
    "cl": ("l", "0.01"),
    **dict.fromkeys(("ml", "mls", "millilitre", "millilitres", "milliliter", "milliliters"), ("l", "0.001")),
    **dict.fromkeys(
        ("pcs", "pc", "pce", "piece", "pieces", "unit", "units", "ea", "each", "item", "items", "ct", "stk"),
        (PIECES, "1"),
    ),
}
_SPELLINGS = "|".join(sorted(map(re.escape, _FACTORS), key=len, reverse=True))
_WITH_UNIT = re.compile(rf"(?P<amount>.*[0-9.,a-z)])\s*(?<![a-z])(?P<unit>{_SPELLINGS})\.?", re.IGNORECASE)
_PACK = re.compile(
    rf"(?P<packs>[0-9]{{1,6}})\s*[x×*]\s*(?P<amount>[0-9.,]+)\s*(?P<unit>{_SPELLINGS})\.?", re.IGNORECASE
)

OTHER_UNIT = "unit turned into kg, l or pcs"
PACK = "pack taken apart"


class Measure(NamedTuple):
    """An amount in ``unit`` (kg, l, pcs, or empty where none is stated). ``content``, ``content_unit``: of each piece, for
    a pack.
    """

    amount: Cell
    unit: str = ""
    content: str = ""
    content_unit: str = ""


def known_unit(name: str) -> str:
    """The unit (kg, l or pcs) that a spelling such as ``grams`` belongs to; empty if it is none."""
    return _FACTORS.get(name.strip().rstrip(".").lower(), ("", ""))[0]


def unit(raw: str) -> Cell:
    """A cell of a column of units. One that we do not know (``box``) stays: how much is in it is not ours to say."""
    cell = text(raw)
    if cell.value is None or not (known := known_unit(cell.value)):
        return cell
    return Cell(known, OTHER_UNIT if known != raw else "")


def measure(raw: str, decimal: str = "", unit_named: str = "") -> Measure:
    """An amount, with or without its unit.

    Args:
        decimal: the column's decimal mark, as for ``numbers.number``.
        unit_named: the spelling of the unit that the header or a column of units names; other words count as no unit.
    """
    named = known_unit(unit_named)
    plain = numbers.number(raw, decimal)
    if plain.value is not None or plain.reason != numbers.UNREADABLE:
        return _in_units(plain, raw, unit_named, named)
    found = squeezed(raw)
    if matched := _PACK.fullmatch(found):
        each = _in_units(numbers.number(matched["amount"], decimal), raw, matched["unit"], known_unit(matched["unit"]))
        if each.amount.value is None:
            return each
        if named not in ("", PIECES):
            return _contradicted(PIECES, named)
        return Measure(Cell(str(int(matched["packs"])), PACK), PIECES, each.amount.value, each.unit)
    if matched := _WITH_UNIT.fullmatch(found):
        spelled = matched["unit"]
        if named and known_unit(spelled) != named:
            return _contradicted(known_unit(spelled), named)
        return _in_units(numbers.number(matched["amount"].strip(), decimal), raw, spelled, known_unit(spelled))
    return Measure(plain)


def is_pack(raw: str) -> bool:
    """Whether this is written as a pack, such as ``6x330ml``."""
    return _PACK.fullmatch(squeezed(raw)) is not None


def bare(raw: str) -> str:
    """What is left of an amount without its unit and its number of packs; squeezed, and all of it where there is neither."""
    found = squeezed(raw)
    matched = _PACK.fullmatch(found) or _WITH_UNIT.fullmatch(found)
    return matched["amount"].strip() if matched else found


def _contradicted(own: str, named: str) -> Measure:
    return Measure(Cell(None, reason=f"says {own} where the column says {named}"))


def _in_units(cell: Cell, raw: str, spelled: str, known: str) -> Measure:
    if cell.value is None:
        return Measure(cell)
    if not known:
        return Measure(cell)
    factor = Decimal(_FACTORS[spelled.strip().rstrip(".").lower()][1])
    if factor == 1:
        same = cell.value == raw
        return Measure(Cell(cell.value, cell.done or ("" if same else OTHER_UNIT)), known)
    product = Decimal(cell.value) * factor
    return Measure(Cell(numbers.canonical(product.normalize()), OTHER_UNIT), known)
