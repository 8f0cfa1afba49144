"""GTINs (EAN, UPC): the check digit, and what spreadsheets do to them."""

from __future__ import annotations

import re

from producers.stock.cells import MISSING, Cell, says_missing, squeezed

LENGTHS = (8, 12, 13, 14)
PLAIN = r"^(?:[0-9]{8}|[0-9]{12,14})$"


def check_digit(digits: str) -> int:
    """The check digit of a GTIN without it.

    Weights 3 and 1 from the right; the sum with the check digit is a multiple of ten (GS1 General Specifications, 7.9).
    """
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return -total % 10


def is_valid(digits: str) -> bool:
    """Whether digits of a GTIN's length end in their check digit."""
    return (
        len(digits) in LENGTHS and digits.isascii() and digits.isdigit() and check_digit(digits[:-1]) == int(digits[-1])
    )


def gtin(raw: str) -> Cell:
    """A GTIN-8, -12, -13 or -14. Zeros that a spreadsheet took off its front come back only where the check digit proves
    it, to the next length that exists: it is 12 for 9 to 11 digits, 8 for 7.
    """
    found = squeezed(raw)
    if says_missing(found):
        return Cell(None, reason=MISSING if found else "")
    digits, done = re.sub(r"[ -]", "", found), ""
    if matched := re.fullmatch(r"([0-9]+)\.0+", digits):
        digits, done = matched[1], "end of .0 taken off a number that a spreadsheet made of an identifier"
    if matched := re.fullmatch(r"([0-9])[.,]([0-9]+)[eE]\+?([0-9]+)", digits):
        if len(matched[2]) != int(matched[3]):
            return Cell(None, reason="a spreadsheet rounded it (scientific notation): digits are lost")
        digits, done = matched[1] + matched[2], "scientific notation that had kept every digit"
    if not re.fullmatch(r"[0-9]+", digits):
        return Cell(None, reason="is not a GTIN: it has other characters than digits")
    if len(digits) in LENGTHS:
        if not is_valid(digits):
            return Cell(None, reason="wrong check digit")
        return Cell(digits, done or ("blanks or hyphens taken out" if digits != raw else ""))
    longer = next((length for length in LENGTHS if length > len(digits)), 0)
    if 7 <= len(digits) < longer and is_valid(digits.zfill(longer)):
        return Cell(digits.zfill(longer), "leading zeros put back, the check digit proves them")
    return Cell(None, reason=f"is not a GTIN: it has {len(digits)} digits")
