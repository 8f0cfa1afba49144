"""Stock gaps: what is not on the shelf, whether it is in the back, and what counts found."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    GREEN,
    ORANGE,
    RED,
    SHOP,
    STORE_ID,
    Field,
    bars,
    board,
    figures,
    lines,
    rows,
    steps,
    store_variable,
    to_dashboard,
    words,
)
from grafana.query import series, table

UID = "aisleflow-stock"
NO_STOCK = "No stock is kept: publish movements (docs/stock.md), and run a worker for them (`aisleflow worker --derives stock`)"

GAPS = {
    "ORDER": ("Order it", RED),
    "COUNT": ("Count it", RED),
    "FILL_SHELF": ("Fill the shelf", ORANGE),
}

# What is to be done is the ledger's finding (docs/stock.md), not worked out here.
TOTALS = f"""
    SELECT
        countIf(gap = 'ORDER') AS `Order`,
        countIf(gap = 'COUNT') AS `Count`,
        countIf(gap = 'FILL_SHELF') AS `Fill the shelf`,
        countIf(gap != '' AND in_transit > 0) AS `Of these on the way`,
        countIf(gap = '') AS `Nothing to do`,
        countIf(gap = '') / count() AS `Share without a gap`
    FROM stock_positions FINAL
    WHERE {sql.STORES}
    HAVING count() > 0
"""

LIST = f"""
    WITH names AS ({sql.NAMES})
    SELECT store_id, shop, sku, gap, gap_since, shelf, backroom, in_transit, counted_at
    FROM (
        SELECT
            store_id, sku, gap, gap_since, counted_at,
            toFloat64(shelf) AS shelf, toFloat64(backroom) AS backroom, toFloat64(in_transit) AS in_transit
        FROM stock_positions FINAL
        WHERE {sql.STORES} AND gap != ''
        ORDER BY indexOf({list(GAPS)}, gap), gap_since, store_id, sku
        LIMIT 1000
    ) AS positions
    LEFT JOIN names USING (store_id)
    ORDER BY indexOf({list(GAPS)}, gap), gap_since, store_id, sku
"""

BY_SHOP = f"""
    WITH names AS ({sql.NAMES})
    SELECT if(shop = '', store_id, shop) AS shop, gaps
    FROM (
        SELECT store_id, count() AS gaps FROM stock_positions FINAL WHERE {sql.STORES} AND gap != '' GROUP BY store_id
        ORDER BY gaps DESC, store_id LIMIT 12
    ) AS counted
    LEFT JOIN names USING (store_id)
    ORDER BY gaps DESC, shop
"""

MOVEMENTS = f"""
    SELECT toStartOfHour(timestamp) AS time, kind, toFloat64(sum(abs(shelf) + abs(backroom))) AS units
    FROM stock_movements FINAL
    WHERE {sql.STORES} AND kind NOT IN ('COUNT', 'SCAN') AND $__timeFilter(timestamp)
    GROUP BY time, kind
    ORDER BY time, kind
"""

DIFFERENCES = f"""
    WITH names AS ({sql.NAMES})
    SELECT store_id, shop, counted_at, sku, location, expected, counted, difference, actor
    FROM (
        SELECT
            store_id, counted_at, sku, location, actor,
            toFloat64(expected) AS expected, toFloat64(counted) AS counted, toFloat64(difference) AS difference
        FROM stock_discrepancies FINAL
        WHERE {sql.STORES} AND NOT is_opening AND difference != 0 AND $__timeFilter(counted_at)
        ORDER BY abs(difference) DESC, counted_at DESC, store_id, sku
        LIMIT 200
    ) AS found
    LEFT JOIN names USING (store_id)
    ORDER BY abs(difference) DESC, counted_at DESC, store_id, sku
"""


def _units(name: str, title: str) -> Field:
    return Field(name, title, unit="locale", width=95)


def stock() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Stock gaps",
        "What is not on the shelf, whether it is in the back or on its way, and by how much counts were off.",
        [
            (
                4,
                [
                    (
                        24,
                        figures(
                            "",
                            table(TOTALS),
                            [
                                Field("Order", unit="locale", colours=steps(GREEN, (1, RED))),
                                Field("Count", unit="locale", colours=steps(GREEN, (1, RED))),
                                Field("Fill the shelf", unit="locale", colours=steps(GREEN, (1, ORANGE))),
                                Field("Of these on the way", unit="locale"),
                                Field("Nothing to do", unit="locale"),
                                Field("Share without a gap", unit="percentunit", decimals=1),
                            ],
                            says="Articles of the chosen shops, as their ledgers stand now. Fill the shelf: the back has some. Order: "
                            "neither has. Count: the ledger cannot be right",
                            empty=NO_STOCK,
                        ),
                    )
                ],
            ),
            (
                14,
                [
                    (
                        17,
                        rows(
                            "Gaps, the worst first",
                            table(LIST),
                            [
                                STORE_ID,
                                SHOP,
                                Field("sku", "Article"),
                                Field("gap", "What to do", width=130, mappings=words(GAPS)),
                                Field("gap_since", "Since", width=160),
                                _units("shelf", "On the shelf"),
                                _units("backroom", "In the back"),
                                _units("in_transit", "On its way"),
                                Field("counted_at", "Last counted", width=160, empty="never"),
                            ],
                            says="Only places that were counted or received goods: of others a balance says nothing",
                            empty="Nothing is missing on any shelf that is kept, or no stock is kept (docs/stock.md)",
                        ),
                    ),
                    (
                        7,
                        bars(
                            "Shops with the most gaps",
                            table(BY_SHOP),
                            says="Articles with a gap",
                            empty="Nothing is missing on any shelf that is kept, or no stock is kept (docs/stock.md)",
                            all_rows=True,
                        ),
                    ),
                ],
            ),
            (
                10,
                [
                    (
                        10,
                        lines(
                            "Units moved, by hour",
                            [series(MOVEMENTS)],
                            says="Received, put on the shelf, sold, returned, wasted and sent away; counts move nothing",
                            as_bars=True,
                            stacked=True,
                            empty="Nothing has moved in this window",
                            fields=[Field("units", "${__field.labels.kind}")],
                        ),
                    ),
                    (
                        14,
                        rows(
                            "What counts found, the largest difference first",
                            table(DIFFERENCES),
                            [
                                STORE_ID,
                                SHOP,
                                Field("counted_at", "Counted", width=160),
                                Field("sku", "Article"),
                                Field("location", "Where", width=100),
                                _units("expected", "Expected"),
                                _units("counted", "Found"),
                                _units("difference", "Difference"),
                                Field("actor", "Who", width=110),
                            ],
                            says="Counts within the window that differ from the ledger; first counts are left out",
                            empty="No count in this window differs from the ledger",
                        ),
                    ),
                ],
            ),
        ],
        variables=[store_variable(several=True)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False)],
        tags=["shops"],
    )
