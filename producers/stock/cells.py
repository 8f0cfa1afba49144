"""What a rule makes of one cell, and the rules for text and identifiers.

Every rule is a pure function of the cell's text and of what its column has shown. It never guesses: what it cannot know
is empty, with the reason.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell: its text as it will be written, or None. ``done``: what was changed. ``reason``: why it is empty or, where
    there is a value, why a person should look at it.
    """

    value: str | None
    done: str = ""
    reason: str = ""


MISSING = "a word for missing"
BLANKS = "blanks at the ends, double blanks or characters that nobody sees taken out"
_MARKERS = frozenset(
    {"", "nan", "n/a", "#n/a", "null", "none", "nil", "-", "--", "?", "<na>", "#ref!", "#value!", "#div/0!", "(blank)"}
)
# "NA" is Namibia, and a brand; where a number or a date should be it is nothing.
_MARKERS_OF_VALUES = _MARKERS | {"na", "tbd", "tba", "unknown", "missing", "nat"}
# Blanks of all kinds, zero-width ones, and what would hide in a log line or end it.
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_EXCEL_ROUNDED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{2,3}")

PLAIN_TEXT = r"^[!-~]+(?: [!-~]+)*$"
"""Printable ASCII with single blanks: what ``text`` leaves as it is, unless it is a word for missing."""
MARKER_TEXT = r"^(?i:nan|n/a|#n/a|null|none|nil|-|--|\?|<na>|#ref!|#value!|#div/0!|\(blank\))$"


def squeezed(text: str) -> str:
    """The text in Unicode's composed form (NFC), without blanks at its ends, each run of blanks inside it one blank."""
    return _BLANK.sub(" ", unicodedata.normalize("NFC", text)).strip()


def says_missing(text: str) -> bool:
    """Whether a squeezed text that should be a number or a date says that there is none."""
    return text.lower() in _MARKERS_OF_VALUES


def text(raw: str) -> Cell:
    """A name, category or other words."""
    found = squeezed(raw)
    if found.lower() in _MARKERS:
        return Cell(None, reason=MISSING if found else "")
    return Cell(found, BLANKS if found != raw else "")


def identifier(raw: str, whole_numbers: bool = False) -> Cell:
    """A product, invoice or customer number: as it is written, but for blanks.

    Args:
        whole_numbers: an end of ``.0`` is what a spreadsheet made of a whole number, and goes.
    """
    cell = text(raw)
    if cell.value is None:
        return cell
    if _EXCEL_ROUNDED.fullmatch(cell.value) and ("." in cell.value or "," in cell.value):
        return Cell(None, reason="a spreadsheet rounded it (scientific notation): digits are lost")
    if whole_numbers and re.fullmatch(r"[0-9]+\.0", cell.value):
        return Cell(cell.value[:-2], "end of .0 taken off a number that a spreadsheet made of an identifier")
    return cell
