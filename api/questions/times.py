"""When: the words for days, hours and moments in a question."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    "december",
)
_SHORT = {name[:3]: name for name in (*WEEKDAYS, *MONTHS)} | {
    "tues": "tuesday",
    "thurs": "thursday",
    "sept": "september",
}
_COUNTED = "one two three four five six seven eight nine ten eleven twelve"
NUMBERS = {word: number for number, word in enumerate(_COUNTED.split(), start=1)} | {
    "fourteen": 14,
    "twenty": 20,
    "thirty": 30,
}
PARTS = {"morning": (6, 12), "afternoon": (12, 18), "evening": (18, 22), "night": (20, 24)}
#: Words that times are made of, for the spelling.
WORDS = frozenset(
    {*WEEKDAYS, *MONTHS, *PARTS, *NUMBERS, "today", "yesterday", "week", "weekend", "month", "year", "hour", "day"}
    | {"noon", "midday", "midnight", "since", "between", "before", "after", "last", "past", "previous", "this", "now"}
    | {"currently", "current", "tomorrow", "next", "tonight", "moment", "right", "date", "until", "from", "ago"}
)

_N = r"(\d{1,3}|" + "|".join(NUMBERS) + r")"
_DAY = "(" + "|".join((*WEEKDAYS, "mon", "tues?", "wed", "thurs?", "fri", "sat", "sun")) + r")s?"
_MONTH = "(" + "|".join((*MONTHS, "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sept?", "oct", "nov", "dec")) + ")"
_DATE = (
    rf"(?:\d{{4}}-\d{{1,2}}-\d{{1,2}}|(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}(?: \d{{4}})?"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?: \d{{4}})?|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}})"
)
_CLOCK = r"(?:\d{1,2}(?::\d{2})? ?(?:am|pm)|\d{1,2}:\d{2}|noon|midday|midnight)"
_HOUR = rf"(?:{_CLOCK}|\d{{1,2}}(?: ?o'?clock)?)"


class TimeError(ValueError):
    """A time that cannot be answered about; the message says why."""


@dataclass(frozen=True)
class Times:
    """When something is asked for; all None: nothing was said.

    Attributes:
        from_day, to_day: business days, both included.
        from_hour, to_hour: hours of the day, the second excluded.
        since: from this moment to now.
        clock: a time of day, for balances.
        ahead_hours: from now on, for what will run out.
        is_now: it was said that now is meant.
        words: as the question said it.
    """

    from_day: date | None = None
    to_day: date | None = None
    from_hour: int | None = None
    to_hour: int | None = None
    since: datetime | None = None
    clock: time | None = None
    ahead_hours: int | None = None
    is_now: bool = False
    words: tuple[str, ...] = ()

    @property
    def is_past(self) -> bool:
        """Whether a span of days or hours was named."""
        return self.from_day is not None or self.since is not None or self.from_hour is not None


def find(text: str, now: datetime, zone: ZoneInfo) -> tuple[Times, str]:
    """The times in a text (lower case, single spaces), and the text with " | " in their place.

    Raises:
        TimeError: a time is in the future, contradicts another, or is none.
    """
    today = now.astimezone(zone).date()
    found, text = _ahead(text, now, zone)
    if future := re.search(
        r"\b(tomorrow|next|coming (?:week|month|days?)|will|forecast\w*|predict\w*|tonight)\b", text
    ):
        raise TimeError(f"“{future[1]}” lies ahead: what was counted can be told, not what is to come")

    def take(pattern: str, read: Callable[[re.Match[str]], Times]) -> None:
        nonlocal found, text
        while match := re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", text):
            found = _joined(found, replace(read(match), words=(match[0],)))
            text = f"{text[: match.start()]} | {text[match.end() :]}"

    def span(first: date, last: date) -> Times:
        if first > today:
            raise TimeError(f"{first:%d %B %Y} lies ahead: what was counted can be told, not what is to come")
        return Times(first, min(last, today))

    def one(day: date) -> Times:
        return span(day, day)

    def of(words: str) -> date:
        return _date(words, today)

    def weekday(name: str, *, before_today: bool = True) -> date:
        """The last such day; today's name means a week ago, unless a span begins with it."""
        number = WEEKDAYS.index(_full(name))
        back = (today.weekday() - number) % 7
        return today - timedelta(days=back or (7 if before_today else 0))

    # The weeks and months before this one.
    monday = today - timedelta(days=today.weekday())
    first_of_month = today.replace(day=1)

    def last(match: re.Match[str]) -> Times:
        number, unit = _number(match[1]), match[2]
        if unit.startswith("hour"):
            return Times(since=now - timedelta(hours=number))
        if unit.startswith("minute"):
            return Times(since=now - timedelta(minutes=number))
        days = {"d": 1, "w": 7, "m": 30}[unit[0]] * number
        return Times(today - timedelta(days=days), today - timedelta(days=1))

    point = rf"(?:{_DATE}|yesterday|today|(?:last )?{_DAY})"

    def day_of(words: str) -> date:
        words = words.removeprefix("last ").removeprefix("on ")
        if words in ("today", "yesterday"):
            return today - timedelta(days=words == "yesterday")
        return weekday(words, before_today=False) if re.fullmatch(_DAY, words) else of(words)

    def between(match: re.Match[str]) -> Times:
        first, second = (day_of(match[name]) for name in ("first", "second"))
        if first > second:
            raise TimeError(f"{match[0]!r} ends before it begins")
        return span(first, second)

    def hours(match: re.Match[str]) -> Times:
        first, second = _clock(match["first"]), _clock(match["second"])
        until = second.hour + (second.minute > 0) or 24
        if first.minute or second.minute:
            raise TimeError("hours of the day are whole hours here: such as between 9 and 12")
        if first.hour >= until:
            raise TimeError(f"{match[0]!r} ends before it begins")
        return Times(from_hour=first.hour, to_hour=until)

    take(rf"(?:between|from) (?P<first>{point}) (?:and|to|until|till) (?P<second>{point})", between)
    take(
        rf"(?:between|from) (?P<first>{_HOUR}) (?:and|to|until|till) (?P<second>{_HOUR})(?! (?:unit|day|piece|people|visitor)s?)",
        hours,
    )
    take(r"(?:in |over |during |for )?(?:the )?(?:last|past|previous) " + _N + r" (minute|hour|day|week|month)s?", last)
    take(r"(?:in |over |during )?(?:the )?(?:last|past) (hour)", lambda _: Times(since=now - timedelta(hours=1)))
    take(r"the day before yesterday|2 days ago", lambda _: one(today - timedelta(days=2)))
    take(
        _N + r" (days?|weeks?) ago", lambda m: one(today - timedelta(days=_number(m[1]) * (7 if m[2][0] == "w" else 1)))
    )
    take(rf"since (?P<d>{point})", lambda m: span(day_of(m["d"]), today))
    take(r"since this morning", lambda _: one(today))
    take(
        r"(?:in |over |during |for )?(?:the )?(?:last|previous|past) week",
        lambda _: span(monday - timedelta(days=7), monday - timedelta(days=1)),
    )
    take(
        r"(?:in |over |during |for )?(?:this|the current) week|week to date|so far this week|the week so far",
        lambda _: span(monday, today),
    )
    take(
        r"(?:in |over |during |at |on )?(?:the |this |last )?(?:past )?weekend",
        lambda _: (
            span(monday - timedelta(days=2), monday - timedelta(days=1))
            if today.weekday() < 5
            else span(monday + timedelta(days=5), today)
        ),
    )
    take(
        r"(?:in |over |during |for )?(?:the )?(?:last|previous|past) month",
        lambda _: span((first_of_month - timedelta(days=1)).replace(day=1), first_of_month - timedelta(days=1)),
    )
    take(
        r"(?:in |over |during |for )?(?:this|the current) month|month to date|so far this month",
        lambda _: span(first_of_month, today),
    )
    take(
        r"(?:in |over |during |for )?(?:the )?(?:last|previous|past) year",
        lambda _: span(date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)),
    )
    take(
        r"(?:in |over |during |for )?(?:this|the current) year|year to date",
        lambda _: span(date(today.year, 1, 1), today),
    )
    take(rf"(?:on |of |for )?(?P<d>{_DATE})", lambda m: one(of(m["d"])))
    take(rf"in {_MONTH}(?: (?P<year>\d{{4}}))?", lambda m: span(*_month(m[1], m["year"], today)))
    parts = "|".join(PARTS)
    take(
        rf"(?:on )?(?P<day>today|yesterday|this|(?:last )?{_DAY}) (?P<part>{parts})",
        lambda m: replace(
            one(today if m["day"] in ("this", "today") else day_of(m["day"]) if m["day"] != "this" else today),
            from_hour=PARTS[m["part"]][0],
            to_hour=PARTS[m["part"]][1],
        ),
    )
    take(rf"in the ({parts})s?", lambda m: Times(from_hour=PARTS[m[1]][0], to_hour=PARTS[m[1]][1]))
    take(r"yesterday s|yesterday", lambda _: one(today - timedelta(days=1)))
    take(r"today s|today|so far today", lambda _: one(today))
    take(rf"(?:on |last )*{_DAY}", lambda m: one(weekday(m[1])))
    take(rf"after (?P<h>{_HOUR})", lambda m: Times(from_hour=_clock(m["h"]).hour, to_hour=24))
    take(rf"before (?P<h>{_HOUR})", lambda m: Times(from_hour=0, to_hour=_clock(m["h"]).hour or 24))
    take(rf"(?:at |by )(?P<h>{_CLOCK}|\d{{1,2}} ?o'?clock)", lambda m: Times(clock=_clock(m["h"])))
    take(
        r"(?:right |just )?now|currently|at the moment|at present|presently|as of now",
        lambda _: Times(is_now=True),
    )
    return found, " ".join(text.split())


#: What is known ahead, and for how long.
_RUNS_OUT = re.compile(r"\b(?:run|runs|running|sell|sells|selling|stock) ?outs?\b")
AHEAD_HOURS = 48


def _ahead(text: str, now: datetime, zone: ZoneInfo) -> tuple[Times, str]:
    """Within how many hours something will run out, where that is asked; and the text without it."""
    if not _RUNS_OUT.search(text):
        return Times(), text
    hours, words = None, []
    span = re.search(r"(?:in |within |over |during )?(?:next|coming) " + _N + r" (hour|day)s?", text)
    span = span or re.search(r"(?:in |within )" + _N + r" (hour|day)s?(?! ago)", text)
    if span:
        hours = _number(span[1]) * (24 if span[2] == "day" else 1)
        words.append(span[0])
    elif tomorrow := re.search(r"\b(?:by |before )?tomorrow\b", text):
        left = datetime.combine(now.astimezone(zone).date() + timedelta(days=2), time(), zone) - now
        hours = int(left.total_seconds() // 3600)
        words.append(tomorrow[0])
    for pattern in (r"\b(?:will|soon|about to|going to|likely to|tonight)\b", r"\b(?:at )?risk(?: of)?\b"):
        while found := re.search(pattern, _without(text, words)):
            words.append(found[0])
    if not words:
        return Times(), text
    hours = hours or AHEAD_HOURS
    if hours > AHEAD_HOURS:
        raise TimeError(f"what will run out is known for the next {AHEAD_HOURS} hours only")
    return Times(ahead_hours=hours, words=tuple(words)), _without(text, words)


def _without(text: str, words: list[str]) -> str:
    for word in words:
        text = re.sub(rf"\b{re.escape(word)}\b", " | ", text)
    return " ".join(text.split())


def _joined(a: Times, b: Times) -> Times:
    """Both together.

    Raises:
        TimeError: both say days, or both say hours.
    """
    for name in ("from_day", "from_hour", "since", "clock", "ahead_hours"):
        if getattr(a, name) is not None and getattr(b, name) is not None:
            raise TimeError(f"two times at once: “{a.words[-1]}” and “{b.words[-1]}”; ask about one")
    if {True} == {a.from_day is not None or b.from_day is not None, a.since is not None or b.since is not None}:
        raise TimeError(f"two times at once: “{a.words[-1]}” and “{b.words[-1]}”; ask about one")
    return Times(
        a.from_day or b.from_day,
        a.to_day or b.to_day,
        b.from_hour if a.from_hour is None else a.from_hour,
        b.to_hour if a.to_hour is None else a.to_hour,
        a.since or b.since,
        b.clock if a.clock is None else a.clock,
        b.ahead_hours if a.ahead_hours is None else a.ahead_hours,
        a.is_now or b.is_now,
        (*a.words, *b.words),
    )


def _full(name: str) -> str:
    return next((_SHORT[name[:size]] for size in (6, 5, 4, 3) if name[:size] in _SHORT), name)


def _number(word: str) -> int:
    number = NUMBERS.get(word) or int(word)
    if number < 1:
        raise TimeError("a span of time has at least one day or hour")
    return number


def _date(words: str, today: date) -> date:
    numbers = [int(digits) for digits in re.findall(r"\d+", words)]
    month = re.search(_MONTH, words)
    try:
        if re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}", words):
            return date(*numbers)
        if month:
            year = numbers[1] if len(numbers) > 1 else today.year
            found = date(year, MONTHS.index(_full(month[0])) + 1, numbers[0])
            # Without a year it is the last such day.
            return found if len(numbers) > 1 or found <= today else found.replace(year=year - 1)
        day, of_year, year = numbers
        if day <= 12 and of_year <= 12 and day != of_year:
            raise TimeError(f"{words} may be two days: write it as 2026-03-12 or 12 March")
        if of_year > 12:
            day, of_year = of_year, day
        return date(year + 2000 if year < 100 else year, of_year, day)
    except TimeError:
        raise
    except ValueError:
        raise TimeError(f"{words} is no day") from None


def _month(name: str, year: str | None, today: date) -> tuple[date, date]:
    number = MONTHS.index(_full(name)) + 1
    try:
        first = date(int(year) if year else today.year - (number > today.month), number, 1)
    except ValueError:
        raise TimeError(f"{year} is no year") from None
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _clock(words: str) -> time:
    if words in ("noon", "midday"):
        return time(12)
    if words == "midnight":
        return time(0)
    match = re.match(r"(\d{1,2})(?::(\d{2}))? ?(am|pm)?", words)
    assert match is not None  # _CLOCK and _HOUR hold it
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3]:
        if not 1 <= hour <= 12:
            raise TimeError(f"{words} is no time of day")
        hour = hour % 12 + (12 if match[3] == "pm" else 0)
    if hour == 24 and not minute:
        return time(0)
    if hour > 23 or minute > 59:
        raise TimeError(f"{words} is no time of day")
    return time(hour, minute)
