"""The articles of simulated shops: all sell the same ones, each at its own prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from itertools import accumulate

from schemas.events import Product as CatalogueEntry
from schemas.events import dump

#: By category: name, units in a pack, cents. The first of each sell most.
_ARTICLES = {
    "Dairy": (
        ("Whole milk 1 l", 12, 129),
        ("Oat milk 1 l", 6, 229),
        ("Salted butter 250 g", 20, 279),
        ("Plain yoghurt 500 g", 6, 169),
        ("Cheddar 200 g", 12, 349),
    ),
    "Bakery": (
        ("Wholemeal bread", 8, 249),
        ("Croissant", 24, 99),
        ("Burger buns 4", 8, 199),
        ("Banana cake", 6, 399),
        ("Pita bread 6", 10, 179),
    ),
    "Drinks": (
        ("Still water 1.5 l", 6, 89),
        ("Cola 330 ml", 24, 109),
        ("Orange juice 1 l", 6, 259),
        ("Ground coffee 250 g", 12, 599),
        ("Green tea 20 bags", 12, 299),
    ),
    "Snacks": (
        ("Potato crisps 150 g", 18, 199),
        ("Dark chocolate 100 g", 20, 249),
        ("Salted peanuts 200 g", 12, 229),
        ("Oat biscuits 300 g", 12, 189),
        ("Fruit gums 200 g", 14, 149),
    ),
    "Household": (
        ("Washing-up liquid 500 ml", 12, 199),
        ("Kitchen roll 2", 12, 279),
        ("Laundry liquid 1 l", 6, 799),
        ("Bin bags 20", 20, 249),
        ("Batteries AA 4", 24, 499),
    ),
    "Bath": (
        ("Hand soap 250 ml", 12, 199),
        ("Toothpaste 75 ml", 12, 249),
        ("Shower gel 300 ml", 12, 329),
        ("Toilet paper 8", 8, 449),
        ("Toothbrush", 12, 299),
    ),
    "Skincare": (
        ("Hand cream 75 ml", 12, 399),
        ("Lip balm", 24, 299),
        ("Face cream 50 ml", 6, 1299),
        ("Sun cream SPF 30", 6, 999),
        ("Cleansing wipes 25", 12, 249),
    ),
    "Haircare": (
        ("Shampoo 300 ml", 12, 399),
        ("Conditioner 300 ml", 12, 399),
        ("Hair gel 150 ml", 12, 349),
        ("Hair spray 250 ml", 6, 449),
        ("Hair clips 10", 24, 199),
    ),
}


@dataclass(frozen=True)
class Article:
    """One article of the catalogue. ``share`` is its part of all units sold."""

    sku: str
    name: str
    category: str
    gtin: str
    pack: int
    cents: int
    share: float


@cache
def articles() -> tuple[Article, ...]:
    """All articles: a few sell much, most little."""
    listed = [(category, *article) for category, group in _ARTICLES.items() for article in group]
    # By place in the group, then by group: what sells most is of every group.
    ranks = {number: rank for rank, number in enumerate(sorted(range(len(listed)), key=lambda n: (n % 5, n)))}
    weights = [1 / (ranks[number] + 3) for number in range(len(listed))]
    total = sum(weights)
    return tuple(
        Article(f"SKU-{number:04}", name, category, _gtin(number), pack, cents, weights[number] / total)
        for number, (category, name, pack, cents) in enumerate(listed)
    )


@cache
def shares_so_far() -> list[float]:
    """Cumulative shares, as ``random.choices`` takes them."""
    return list(accumulate(article.share for article in articles()))


def entries(made: datetime) -> list[tuple[str, bytes]]:
    """(SKU, Product as JSON) of every article."""
    return [
        (
            article.sku,
            dump(
                CatalogueEntry(
                    sku=article.sku,
                    timestamp=made,
                    name=article.name,
                    category=article.category,
                    gtin=article.gtin,
                    pack=Decimal(article.pack),
                )
            ),
        )
        for article in articles()
    ]


def _gtin(number: int) -> str:
    """A GTIN-13 of the numbers that GS1 leaves to shops themselves (prefix 20)."""
    digits = f"20{number:010}"
    weighted = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return digits + str(-weighted % 10)
