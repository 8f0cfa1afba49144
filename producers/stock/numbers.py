"""Numbers as people write them: currency signs, thousands separators of both kinds, words, accountants' brackets.

``1.234`` and ``1,234`` can each be read in two ways. Which one holds is told by the other cells of the column
(``evidence``), never by the cell itself; where the column does not tell, the cell stays empty.
"""

from __future__ import annotations

import re
from decimal import Decimal

from producers.stock.cells import MISSING, Cell, says_missing, squeezed

PLAIN = r"^(?:0|-?[1-9][0-9]{0,11})(?:\.(?:[0-9]{1,2}|[0-9]{4,9}))?$"
"""A number that can be read in one way only and is written as we write it."""

AMBIGUOUS = "can be read in two ways, and the column does not tell which"
UNREADABLE = "is not a number"
WORDS = "number written as words"
SEPARATORS = "thousands or decimal separators"
CURRENCY_SIGN = "currency sign"
OTHER_FORM = "another form of the same number"

_CODES = (
    *(
        "EUR",
        "GBP",
        "INR",
        "USD",
        "JPY",
        "CNY",
        "CHF",
        "SEK",
        "NOK",
        "DKK",
        "PLN",
        "CZK",
        "HUF",
        "TRY",
        "RUB",
        "BRL",
        "AUD",
    ),
    *("CAD", "NZD", "HKD", "SGD", "ZAR", "MXN", "AED", "SAR", "KRW", "THB"),
)
CURRENCIES = {
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₽": "RUB",
    "₺": "TRY",
    "zł": "PLN",
    "rs.": "INR",
    "rs": "INR",
    "us$": "USD",
    "r$": "BRL",
    "a$": "AUD",
    "c$": "CAD",
    "hk$": "HKD",
    # These signs belong to several currencies: the amount is read, the currency is not known.
    "$": "",
    "¥": "",
    "kr": "",
    "kr.": "",
    **{code.lower(): code for code in _CODES},
}
_SIGNS = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_CURRENCY = re.compile(
    rf"(?:(?P<front>{_SIGNS})(?![a-z])\s*)?(?P<rest>.*?)(?:\s*(?<![a-z])(?P<back>{_SIGNS}))?", re.IGNORECASE
)
_GROUPS = {
    ",": re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}"),  # the second form is India's
    ".": re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+"),
}
_BLANK_GROUPS = re.compile(r"[0-9]{1,3}(?:([ '’_])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?")
_SCIENTIFIC = re.compile(r"[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}")
_SCALES = {"k": 3, "thousand": 3, "million": 6, "dozen": 0}
_SCALED = re.compile(r"(?P<digits>[0-9.,]+)\s*(?P<scale>k|thousand|million|dozen)", re.IGNORECASE)

_UNITS = dict(
    zip(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], range(10), strict=True)
)
_TEENS = dict(
    zip(
        ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
        range(10, 20),
        strict=True,
    )
)
_TENS = dict(
    zip(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], range(20, 100, 10), strict=True)
)


def evidence(raw: str) -> str:
    """The decimal mark, ``.`` or ``,``, that this cell proves for its column; nothing if it proves none."""
    _, digits, _ = _parts(squeezed(raw))
    marks = [mark for mark in digits if mark in ".,"]
    if not marks or not re.fullmatch(r"[0-9.,]+", digits):
        return ""
    last = marks[-1]
    if len(set(marks)) == 2:
        return last if _read_digits(digits, None) else ""
    if len(marks) > 1:
        return ("," if last == "." else ".") if _GROUPS[last].fullmatch(digits) else ""
    return last if re.fullmatch(r"[0-9]*[.,][0-9]+", digits) and not _two_ways(digits, last) else ""


def number(raw: str, decimal: str = "") -> Cell:
    """A number without a unit.

    Args:
        decimal: the column's decimal mark; empty where the column does not tell.
    """
    if re.fullmatch(PLAIN, raw):
        return Cell(raw)
    found = squeezed(raw)
    if says_missing(found):
        return Cell(None, reason=MISSING if found else "")
    sign, digits, currency = _parts(found)
    value, done = _magnitude(digits, decimal)
    if value is None:
        return Cell(None, reason=done)
    written = canonical(f"{sign}{value}")
    if done == "" and currency is not None:
        done = CURRENCY_SIGN
    return Cell(written, done or (OTHER_FORM if written != raw else ""))


def currency(raw: str) -> str:
    """ISO 4217 code of the currency sign in an amount; empty if there is none, or if several currencies share it."""
    return _parts(squeezed(raw))[2] or ""


def canonical(value: str | Decimal) -> str:
    """A number as we write it: a dot, no separators, and never exactly three decimals after one to three digits, since
    somebody could take them for thousands (1.234 is written 1.2340).
    """
    written = format(value, "f") if isinstance(value, Decimal) else value
    sign, written = ("-", written[1:]) if written.startswith("-") else ("", written)
    whole, _, decimals = written.partition(".")
    whole = whole.lstrip("0") or "0"
    if len(decimals) == 3 and whole != "0" and len(whole) <= 3:
        decimals += "0"
    elif len(decimals) > 9:
        decimals = decimals.rstrip("0")
    if whole == "0" and not decimals.strip("0"):
        sign = ""
    return f"{sign}{whole}.{decimals}" if decimals else sign + whole


def in_words(found: str) -> int | None:
    """The number that English words name (``two hundred and five``, ``half a dozen``), or None."""
    tokens = [token for token in re.split(r"[\s-]+", found.lower()) if token]
    if tokens == ["hundred"]:
        return 100
    if tokens and tokens[-1] in ("dozen", "dozens"):
        head = tokens[:-1]
        if head in (["half"], ["half", "a"], ["a", "half"]):
            return 6
        times = 1 if head in ([], ["a"]) else _below_thousand(head)
        return None if times is None else 12 * times
    total = 0
    for scale, factor in (("million", 10**6), ("thousand", 1000)):
        if scale in tokens:
            place = tokens.index(scale)
            head, tokens = tokens[:place], tokens[place + 1 :]
            times = 1 if head in ([], ["a"]) else _below_thousand(head)
            if not times:
                return None
            total += times * factor
            if not tokens:
                return total
            if tokens[0] == "and":
                tokens = tokens[1:]
    rest = _below_thousand(tokens)
    return None if rest is None or (total and not rest) else total + rest


def _below_thousand(tokens: list[str]) -> int | None:
    if "hundred" not in tokens:
        return _below_hundred(tokens)
    place = tokens.index("hundred")
    head, rest = tokens[:place], tokens[place + 1 :]
    hundreds = 1 if head == ["a"] else _UNITS.get(head[0], 0) if len(head) == 1 else 0
    if not hundreds:
        return None
    if not rest:
        return 100 * hundreds
    small = _below_hundred(rest[1:] if rest[0] == "and" else rest)
    return 100 * hundreds + small if small else None


def _below_hundred(tokens: list[str]) -> int | None:
    if len(tokens) == 1:
        return {**_UNITS, **_TEENS, **_TENS}.get(tokens[0])
    if len(tokens) == 2 and tokens[0] in _TENS and _UNITS.get(tokens[1], 0):
        return _TENS[tokens[0]] + _UNITS[tokens[1]]
    return None


def _parts(found: str) -> tuple[str, str, str | None]:
    """(sign, what is left, currency or None) of a squeezed text."""
    sign, rest, code = "", found.replace("\u2212", "-").replace("\u00a0", " "), None
    if rest.startswith("(") and rest.endswith(")"):
        sign, rest = "-", rest[1:-1].strip()
    for _ in range(2):  # the sign stands before or after the currency's
        if not sign and rest[:1] in ("-", "+"):
            sign, rest = rest[0], rest[1:].strip()
        elif not sign and re.search(r"[0-9]-$", rest):
            sign, rest = "-", rest[:-1].strip()
        matched = _CURRENCY.fullmatch(rest)
        if matched and code is None and (shown := matched["front"] or matched["back"]) and matched["rest"]:
            if matched["front"] and matched["back"]:
                break
            code, rest = CURRENCIES[shown.lower()], matched["rest"].strip()
    return sign.replace("+", ""), rest, code


def _magnitude(digits: str, decimal: str) -> tuple[str | None, str]:
    """(the number without its sign, what was done), or (None, why not)."""
    if re.fullmatch(r"[0-9]+", digits):
        return digits, ""
    if _SCIENTIFIC.fullmatch(digits):
        value = Decimal(digits)
        return format(value, "f"), OTHER_FORM
    if matched := _SCALED.fullmatch(digits):
        scale = matched["scale"].lower()
        base, why = _magnitude(matched["digits"], decimal)
        if base is None:
            return None, why
        factor = 12 if scale == "dozen" else 10 ** _SCALES[scale]
        scaled = Decimal(base) * factor
        if scaled != scaled.to_integral_value():
            return None, UNREADABLE
        return str(int(scaled)), WORDS
    if _BLANK_GROUPS.fullmatch(digits):
        return re.sub(r"[ '’_]", "", digits).replace(",", "."), SEPARATORS
    if re.fullmatch(r"[.,][0-9]+|[0-9]+[.,]", digits):
        return (f"0{digits}" if digits[0] in ".," else digits[:-1]).replace(",", "."), OTHER_FORM
    if re.fullmatch(r"[0-9.,]+", digits):
        marks = {mark for mark in digits if mark in ".,"}
        if len(marks) == 1 and digits.count(mark := marks.pop()) == 1 and _two_ways(digits, mark) and not decimal:
            return None, AMBIGUOUS
        value_read = _read_digits(digits, decimal)
        if value_read is None:
            return None, UNREADABLE
        return value_read, SEPARATORS if value_read != digits else ""
    spoken = in_words(digits)
    return (None, UNREADABLE) if spoken is None else (str(spoken), WORDS)


def _two_ways(digits: str, mark: str) -> bool:
    """Whether a number with this one mark could be thousands as well as decimals."""
    whole, _, rest = digits.partition(mark)
    return len(rest) == 3 and 1 <= len(whole) <= 3 and not whole.startswith("0")


def _read_digits(digits: str, decimal: str | None) -> str | None:
    """Digits with dots and commas as a plain number; ``decimal`` decides where both readings are possible."""
    marks = [mark for mark in digits if mark in ".,"]
    last = marks[-1]
    if not re.search("[0-9]", digits):
        return None
    if len(set(marks)) == 2:
        whole, _, decimals = digits.rpartition(last)
        group = "," if last == "." else "."
        if last in whole or not decimals or not _GROUPS[group].fullmatch(whole):
            return None
        return f"{whole.replace(group, '')}.{decimals}"
    if len(marks) > 1 or (_two_ways(digits, last) and decimal and decimal != last):
        return digits.replace(last, "") if _GROUPS[last].fullmatch(digits) else None
    return digits.replace(last, ".")
