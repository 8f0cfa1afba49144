"""What shops, zones, articles and categories are called, and which of them words mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

EntityKind = Literal["shop", "zone", "sku", "category"]
Words = tuple[str, ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Nouns for a thing on a shelf: they say nothing of which one, unless they stand in a longer name.
PACKING = _words(
    """
    bar bottle pack packet carton loaf tin can box bag jar tub piece unit item product article sku good stuff
    litre kg
    """
)
#: Sizes in names of articles, which nobody says: 2 L, 800 g, 70%, 6 pack.
_SIZE = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*(?:%|(?:kg|g|l|ml|cl|pack|pcs|x|mm|cm|m|tier|ct|oz|lb)\b)|\b\d{1,3}\b", re.IGNORECASE
)
_TOKEN = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d+:\d+|\w+(?:[.@:]\w+)*", re.UNICODE)
_ARTICLES = frozenset({"the", "a", "an"})
MOST_PARTS = 5


def stem(word: str) -> str:
    """A word without its plural: shelves and shelf, deliveries and delivery are one."""
    if (
        len(word) < 4
        or any(char.isdigit() for char in word)
        or word.endswith(("ss", "is"))
        or (word.endswith("us") and len(word) > 4)
    ):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("ves"):
        return word[:-3] + "f"
    if word.endswith(("ches", "shes", "sses", "xes", "oes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def split(text: str) -> list[str]:
    """The words of a text in lower case, dates and times of day in one piece. Hyphens and underscores part words."""
    text = text.lower().replace("’", "'")
    text = re.sub(r"(?<=\w)'s\b", "", text).replace("'", "")
    text = re.sub(r"(?<![\d])-|-(?![\d])|(?<=[a-z])-|_", " ", text)
    return [word for word in _TOKEN.findall(text) if word not in _ARTICLES]


def words_of(text: str) -> Words:
    """The stems of a text's words, without articles."""
    return tuple(map(stem, split(text)))


@dataclass(frozen=True)
class Product:
    """An article of the catalogue."""

    sku: str
    name: str = ""
    category: str = ""


@dataclass(frozen=True)
class Names:
    """Everything that has a name, as ClickHouse knows it.

    Attributes:
        stores: names by store_id; empty where the layout gives none.
        zones: names by zone_id, over all shops.
        products: articles by SKU; with only the SKU where the catalogue does not know them.
        time_zones: IANA zones by store_id.
    """

    stores: dict[str, str] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    time_zones: dict[str, str] = field(default_factory=dict)

    @cached_property
    def categories(self) -> list[str]:
        """Categories of the catalogue."""
        return sorted({product.category for product in self.products.values()} - {""})

    def only(self, stores: Iterable[str]) -> Names:
        """The same for somebody who may know of these shops only. The catalogue is common to all."""
        kept = set(stores)
        return Names(
            {store: name for store, name in self.stores.items() if store in kept},
            self.zones,
            self.products,
            {store: zone for store, zone in self.time_zones.items() if store in kept},
        )

    def shop(self, store_id: str) -> str:
        """What a shop is called."""
        return self.stores.get(store_id) or store_id

    def product(self, sku: str) -> str:
        """What an article is called, with its SKU."""
        known = self.products.get(sku)
        return f"{known.name} ({sku})" if known and known.name else sku

    @cached_property
    def index(self) -> dict[Words, dict[EntityKind, frozenset[str]]]:
        """What each run of words means. The whole of a name or id beats a part of others."""
        whole: defaultdict[Words, defaultdict[EntityKind, set[str]]] = defaultdict(lambda: defaultdict(set))
        part: defaultdict[Words, defaultdict[EntityKind, set[str]]] = defaultdict(lambda: defaultdict(set))

        def add(kind: EntityKind, identity: str, name: str) -> None:
            for text in {identity, name} - {""}:
                if words := words_of(text):
                    whole[words][kind].add(identity)
            words = words_of(_SIZE.sub(" ", name))[:12]
            if words:
                part[words][kind].add(identity)
            for size in range(1, min(len(words), MOST_PARTS) + 1):
                for start in range(len(words) - size + 1):
                    piece = words[start : start + size]
                    if size > 1 or (piece[0] not in PACKING and len(piece[0]) > 2 and not piece[0].isdecimal()):
                        part[piece][kind].add(identity)

        for store_id, name in self.stores.items():
            add("shop", store_id, name)
        for zone_id, name in self.zones.items():
            add("zone", zone_id, name)
        for product in self.products.values():
            add("sku", product.sku, product.name)
        for category in self.categories:
            whole[words_of(category)]["category"].add(category)
        found: dict[Words, dict[EntityKind, frozenset[str]]] = {}
        for words in part.keys() | whole.keys():
            kinds: dict[EntityKind, frozenset[str]] = {}
            for kind in ("shop", "zone", "sku", "category"):
                exact = whole[words].get(kind, set()) if words in whole else set()
                loose = part[words].get(kind, set()) if words in part else set()
                if exact or loose:
                    kinds[kind] = frozenset(exact or loose)
            # Milk, the category, is more than the articles whose names have the word: it decides.
            if "category" in kinds:
                kinds.pop("sku", None)
            found[words] = kinds
        found.pop((), None)
        return found

    @cached_property
    def vocabulary(self) -> dict[str, str]:
        """Every word that a name has: its stem, and as it is written."""
        called = [*self.stores.values(), *self.zones.values(), *self.categories]
        called += [product.name for product in self.products.values()]
        written = {stem(word): word for name in called for word in split(name)}
        return {word: written.get(word, word) for words in self.index for word in words}
