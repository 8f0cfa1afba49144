"""The words of questions, other than names: measures, by what, most and least, and what says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from api.questions.measures import MEASURES
from api.questions.names import Words, stem, words_of
from api.questions.query import Action, Dimension
from api.questions.times import WORDS as TIME_WORDS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


WEAK = 0.4


@dataclass(frozen=True)
class Meaning:
    """What a run of words may say.

    Attributes:
        measures: how strongly it says which measure.
        noun: the dimension that it names, which is one only after "by", "which" or with "most".
        order: most or least.
        action: of what is to be done about stock.
        role: by, which, where, count (how many), long (how long), share (which part), compare, or nothing to be known.
    """

    measures: dict[str, float] = field(default_factory=dict)
    noun: Dimension | None = None
    order: Literal["most", "least"] | None = None
    action: Action | None = None
    role: Literal["", "by", "which", "where", "count", "long", "share", "compare", "what"] = ""


DIMENSIONS: dict[Dimension, str] = {
    "shop": "shop store branch site outlet|retail store",
    "day": "day date|daily",
    "weekday": "weekday|day of week|day of the week",
    "hour": "hour|hourly|hour of the day|time of day|hour of day",
    "zone": "zone area aisle section corner",
    "sku": "sku product item article",
    "category": "category department range group|product group|product category",
}
_MOST = "most top best highest biggest largest maximum max busiest longest greatest strongest main popular"
_LEAST = "least bottom worst lowest smallest fewest quietest slowest shortest minimum min weakest"
_BY = "by|per|for each|each|for every|every|broken down by|split by|grouped by|across"
_ACTIONS: dict[Action, str] = {
    "ORDER": "order|ordered|ordering|reorder|need ordering|order list|buy in",
    "FILL_SHELF": "fill|filled|fill list|fill the shelf|fill up|refill|refilled|filled from the backroom|filled from the back"
    "|fill from the back|shelf be filled|shelf should be filled|need filling|filling|topped up|top up",
    "COUNT": "counted|count|counting|need counting|recount",
}
#: Words that stand beside a measure without asking for another.
_BESIDE = {
    "visitor people customer shopper person visit": "conversion stay dwell zone_visits queue_now queue_max gave_up abandonment wait "
    "basket receipts revenue alerts units returned",
    "queue line": "gave_up abandonment wait alerts",
    "stock": "shelf backroom in_transit low out sold_out missing discrepancies wasted gaps empty_shelf transferred received units",
    "inventory": "shelf backroom in_transit low out missing discrepancies gaps",
    "unit": "on_hand shelf backroom in_transit missing wasted received returned transferred discrepancies sold_out low",
    "shelf": "gaps empty_shelf low out on_hand missing wasted discrepancies",
    "count": "missing discrepancies",
    "missing|lost": "discrepancies",
    "sale": "receipts basket conversion",
    "sold": "out sold_out basket revenue",
    "on hand|on the shelf|in the back|in the backroom": "on_hand low out gaps",
    "in stock": "shelf backroom low out",
    "zone": "dwell zone_visits",
    "receipt|transaction": "revenue basket",
    "delivery": "received in_transit",
    "waiting": "gave_up abandonment",
    "order": "received in_transit",
}
# Asked for, and known to nobody here.
UNSUPPORTED: dict[str, str] = {
    "profit margin cost price discount markup vat tax budget target quota": "nothing here knows prices paid, costs or goals",
    "age old gender male female men women child": "cameras here tell nobody's age or sex",
    "why because reason cause explain": "it can tell what is so, not why",
    "stole steal thief stolen theft shoplifter shoplifting": "counts tell what is missing, not who took it: ask what is missing",
    "weather rain temperature": "nothing here knows the weather",
    "staff employee worker wage rota shift plan": "figures leave staff out",
    "supplier vendor": "nothing here knows who supplies what",
    "online website web app": "it knows shops only",
    "name email phone address who is": "visitors have no names here",
    "quarter": "say which months or days",
}
COMMANDS = _words(
    """
    delete drop truncate update insert alter create grant remove erase change set write send email cancel move
    transfer book
    """
)
#: What says nothing of its own.
IGNORED = _words(
    """
    is are was were be been being am do does did doing done has had having can could should would shall may might
    must of in on at to for from with into onto over under about around during within as than then so and or not
    but if that this these those i we our us you your they their them it its he she his her me my mine ours here
    please tell show give list find get got see know want need like much many any some all every total overall
    altogether sum figure number value level amount there now just only also still ever what whats hows which how
    who whose when how's what's there's let lets us want wants need needs needed something anything everything
    whole in our at your up out off down no yes ok okay hi thanks thank mean so far average avg mean typical per
    cent go goes went make makes come comes look looks looking right moment current currently today's shop's own
    till checkout counter cash register door entrance front floor retail company chain business according based
    versus compared compare against between ones other others open each both either long often high big large well
    badly good bad great more less few lot lots highest exactly roughly approximately
    """
)
_LONGER_IGNORED = (
    "how much|how big|how busy|how well|how high|what is|what was|what were|what are|tell me|show me|give me|i mean|at all|in total|"
    "in all|all shop|all store|across all shop|in all shop|every shop|my shop|our shop|this shop|the tills|per cent|go out|by far"
)


@cache
def lexicon() -> dict[Words, Meaning]:
    """What each run of words means."""
    found: dict[Words, Meaning] = {}

    def add(phrase: str, meaning: Meaning) -> None:
        words = words_of(phrase)
        known = found.get(words, Meaning())
        found[words] = Meaning(
            {**meaning.measures, **known.measures},
            known.noun or meaning.noun,
            known.order or meaning.order,
            known.action or meaning.action,
            known.role or meaning.role,
        )

    for name, measure in MEASURES.items():
        for phrase in measure.phrases.split("|"):
            weak = phrase.startswith("*")
            add(phrase.lstrip("*"), Meaning({name: WEAK if weak else len(words_of(phrase)) + 0.5}))
    for phrases, names in _BESIDE.items():
        for phrase in phrases.split("|") if "|" in phrases or phrases.startswith(("on ", "in ")) else phrases.split():
            add(phrase, Meaning(dict.fromkeys(names.split(), 0.0)))
    for noun, words in DIMENSIONS.items():
        for phrase in _listed(words):
            add(phrase, Meaning(noun=noun))
    for word in _MOST.split():
        add(word, Meaning(order="most"))
    for word in _LEAST.split():
        add(word, Meaning(order="least"))
    for action, phrases in _ACTIONS.items():
        for phrase in phrases.split("|"):
            add(phrase, Meaning(action=action))
    for phrase in _BY.split("|"):
        add(phrase, Meaning(role="by"))
    add("daily", Meaning(role="by"))
    add("hourly", Meaning(role="by"))
    for phrase in ("which", "which of", "who"):
        add(phrase, Meaning(role="which"))
    for phrase in [
        "what",
        "what is",
        "what was",
        "what were",
        "what are",
        "what did",
        "what do",
        "what got",
        "what has",
    ]:
        add(phrase, Meaning(role="what"))
    add("where", Meaning(role="where"))
    for phrase in ("how many", "how often", "number of", "how many times"):
        add(phrase, Meaning(role="count"))
    add("how long", Meaning(role="long"))
    for phrase in [
        "share",
        "share of",
        "percentage",
        "percentage of",
        "percent",
        "percent of",
        "rate",
        "rate of",
        "proportion",
        "proportion of",
    ]:
        add(phrase, Meaning(role="share"))
    for phrase in ("compare", "versus", "vs", "compared to", "compared with", "against", "comparison of", "comparison"):
        add(phrase, Meaning(role="compare"))
    add("busiest", Meaning({"visitors": 1.5, "zone_visits": 1.0}))
    add("busy", Meaning({"visitors": 1.5, "zone_visits": 1.0}))
    add("quietest", Meaning({"visitors": 1.5, "zone_visits": 1.0}))
    for phrase in [
        "seller",
        "best seller",
        "bestseller",
        "best selling",
        "top seller",
        "slowest seller",
        "worst seller",
        "bottom seller",
    ]:
        add(phrase, Meaning({"units": 1.5}, noun="sku"))
    for phrase in ("best seller", "bestseller", "best selling", "top seller", "top selling"):
        add(phrase, Meaning(order="most"))
    for phrase in ("slowest seller", "worst seller", "bottom seller", "slowest selling", "worst selling"):
        add(phrase, Meaning({"units": 1.5}, noun="sku", order="least"))
    for word in (*IGNORED, *(_LONGER_IGNORED.split("|"))):
        if words_of(word) and words_of(word) not in found:
            found[words_of(word)] = Meaning()
    return found


#: Measures that are a largest themselves: with "where" it is the largest of these that is meant.
LARGEST = frozenset(map(words_of, ("longest queue", "biggest queue", "maximum queue")))
#: Short words that are often misspelt.
SHORT = frozenset(
    ["which", "where", "what", "week", "shop", "store", "stock", "sold", "shelf", "today", "month", "queue"]
)


def _listed(words: str) -> list[str]:
    first, *phrases = words.split("|")
    return [*first.split(), *phrases]


@cache
def unsupported() -> dict[str, str]:
    """Why a word (its stem) cannot be answered about."""
    return {
        stem(word): reason
        for words, reason in UNSUPPORTED.items()
        for word in words.split()
        if word not in ("is", "who", "shift")
    }


@cache
def vocabulary() -> frozenset[str]:
    """Every word that is known without names."""
    known = {word for words in lexicon() for word in words}
    return frozenset(known | unsupported().keys() | {stem(word) for word in COMMANDS | TIME_WORDS} | TIME_WORDS)
