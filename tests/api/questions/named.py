"""Names of a few made-up shops and articles."""

from __future__ import annotations

from datetime import UTC, datetime

from api.questions.names import Names, Product

NOW = datetime(2026, 3, 18, 15, tzinfo=UTC)
"""A Wednesday."""
PRODUCTS = (
    Product("22423", "Regency Cakestand 3 Tier", "Kitchenware"),
    Product("10001", "Whole Milk 2 L", "Milk"),
    Product("10003", "Oat Milk Barista 1 L", "Milk"),
    Product("40001", "Milk Chocolate Bar 100 g", "Chocolate"),
    Product("20001", "Sliced White Bread 800 g", "Bread"),
    Product("LIP-01"),
)
NAMES = Names(
    stores={"ST1001": "Leeds Briggate", "ST1002": "York Coney Street", "STORE_BLR_002": ""},
    zones={"DAIRY": "Dairy", "BILLING": "Billing"},
    products={product.sku: product for product in PRODUCTS},
    time_zones={"ST1001": "Europe/London", "ST1002": "Europe/London", "STORE_BLR_002": "Asia/Kolkata"},
)
