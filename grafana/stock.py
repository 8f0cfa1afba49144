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
    matrix,
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

# Low and out as GET /stock/heatmap has them: nothing on the shelf, or less than four hours of its sales of 28 days.
HEAT = f"""
    WITH
        names AS ({sql.NAMES}),
        sold AS (
            SELECT store_id, sku, units, uniqExactMerge(hours) OVER (PARTITION BY store_id) AS shop_hours
            FROM (
                SELECT store_id, sku, sum(quantity) AS units, uniqExactState(toStartOfHour(timestamp)) AS hours
                FROM stock_movements FINAL
                WHERE {sql.STORES} AND kind = 'SALE'
                  AND timestamp >= (SELECT max(moved_at) FROM stock_positions) - INTERVAL 28 DAY
                GROUP BY store_id, sku
            )
        )
    SELECT if(any(shop) = '', store_id, any(shop)) AS named, category, countIf(shelf <= 0 OR shelf < 4 * rate) / count() AS share
    FROM (
        SELECT store_id, if(category = '', 'Other', category) AS category, toFloat64(shelf) AS shelf,
            greatest(0, toFloat64(units)) / greatest(1, shop_hours) AS rate
        FROM (SELECT store_id, sku, shelf FROM stock_positions FINAL WHERE {sql.STORES} AND shelf_known) AS positions
        LEFT JOIN sold USING (store_id, sku)
        LEFT JOIN (SELECT sku, category FROM products FINAL) AS products USING (sku)
    ) AS shelves
    LEFT JOIN names USING (store_id)
    GROUP BY store_id, category
    ORDER BY sum(countIf(shelf <= 0 OR shelf < 4 * rate)) OVER (PARTITION BY store_id) DESC, named, store_id, category
    LIMIT 2000
"""

# Made by `aisleflow restock` now and then; what is older than a day tells of another shelf.
RISK = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id, shop, if(name = '', sku, name) AS article, runs_out_at, risk_24h, risk_48h, lost_48h, shelf, backroom, on_order,
        order_quantity
    FROM (
        SELECT store_id, sku, runs_out_at, toFloat64(risk[24]) AS risk_24h, toFloat64(risk[48]) AS risk_48h, lost_48h, shelf, backroom,
            on_order, order_quantity
        FROM stock_outlook FINAL
        WHERE {sql.STORES} AND made_at > now() - INTERVAL 1 DAY AND risk[48] >= 0.1
        ORDER BY lost_48h DESC, risk_48h DESC, store_id, sku
        LIMIT 200
    ) AS outlook
    LEFT JOIN names USING (store_id)
    LEFT JOIN (SELECT sku, name FROM products FINAL) AS products USING (sku)
    ORDER BY lost_48h DESC, risk_48h DESC, store_id, sku
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


def _risk(name: str, title: str) -> Field:
    return Field(
        name, title, unit="percentunit", decimals=0, width=85, colours=steps("transparent", (0.25, ORANGE), (0.5, RED))
    )


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
                12,
                [
                    (
                        11,
                        matrix(
                            "Low or out, by shop and group",
                            table(HEAT),
                            [Field("named", "Shop"), Field("category", "Group"), Field("share", "Low or out")],
                            says="Share of articles with nothing on the shelf, or less than four hours of its sales; the shop with most "
                            "of them first. Groups are those of the catalogue (topic products)",
                            empty=NO_STOCK,
                        ),
                    ),
                    (
                        13,
                        rows(
                            "Will run out within 48 hours",
                            table(RISK),
                            [
                                STORE_ID,
                                SHOP,
                                Field("article", "Article"),
                                Field("runs_out_at", "Likely at", width=150, empty="perhaps"),
                                _risk("risk_24h", "In 24 h"),
                                _risk("risk_48h", "In 48 h"),
                                _units("lost_48h", "Sales lost"),
                                _units("shelf", "On the shelf"),
                                _units("backroom", "In the back"),
                                _units("on_order", "On order"),
                                _units("order_quantity", "Order"),
                            ],
                            says="Probability that nothing is left in the shop, of 10 % or more, what costs most sales first "
                            "(docs/restocking.md)",
                            empty="Nothing is likely to run out, or nobody works it out: `aisleflow restock`",
                        ),
                    ),
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
