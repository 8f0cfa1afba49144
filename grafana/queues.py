"""Queues and waiting: how many, how long, and who gave up."""

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
    board,
    figures,
    lines,
    rows,
    steps,
    store_variable,
    to_dashboard,
)
from grafana.query import series, table

UID = "aisleflow-queues"
NOBODY = "Nobody was at the tills in this window"

_STAYS = f"zone_visits FINAL WHERE {sql.STORES} AND is_billing AND NOT is_staff AND {sql.window('started_at')}"
_LAST_DEPTHS = f"""
    SELECT store_id, argMax(depth, timestamp) AS waiting, max(depth) AS deepest
    FROM queue_depth FINAL
    WHERE {sql.STORES} AND {sql.window("timestamp")}
    GROUP BY store_id
"""

TOTALS = f"""
    SELECT
        waiting AS `Waiting now`,
        deepest AS `Deepest`,
        median_ms AS `At the till, median`,
        p90_ms AS `At the till, one in ten longer than`,
        abandonment_rate AS `Gave up queueing`
    FROM (
        SELECT count() AS stays, quantileExact(0.5)(dwell_ms) AS median_ms, quantileExact(0.9)(dwell_ms) AS p90_ms
        FROM {_STAYS}
    ) AS tills
    CROSS JOIN (SELECT sum(waiting) AS waiting, max(deepest) AS deepest FROM ({_LAST_DEPTHS})) AS queues
    CROSS JOIN (SELECT {sql.VISIT_FIGURES} FROM visits FINAL WHERE {sql.STORES} AND {sql.window("started_at")}) AS seen
    WHERE stays > 0
"""

# The shops with the deepest queues only: a line for each of a thousand would show nothing.
DEPTHS = f"""
    WITH names AS ({sql.NAMES})
    SELECT time, if(shop = '', store_id, shop) AS shop, waiting
    FROM (
        SELECT $__timeInterval(timestamp) AS time, store_id, max(depth) AS waiting
        FROM queue_depth FINAL
        WHERE {sql.window("timestamp")} AND store_id IN (
            SELECT store_id FROM ({_LAST_DEPTHS}) ORDER BY deepest DESC, store_id LIMIT 10
        )
        GROUP BY time, store_id
    ) AS depths
    LEFT JOIN names USING (store_id)
    ORDER BY time
"""

WAITS = f"""
    SELECT
        toStartOfHour(started_at) AS time,
        quantileExact(0.5)(dwell_ms) AS `median`,
        quantileExact(0.9)(dwell_ms) AS `one in ten longer than`
    FROM {_STAYS}
    GROUP BY time
    ORDER BY time
"""

GAVE_UP = f"""
    SELECT toStartOfHour(started_at) AS time, countIf(joined_queue) AS `queued`, countIf(abandoned_queue) AS `gave up`
    FROM visits FINAL
    WHERE {sql.STORES} AND NOT is_staff AND {sql.window("started_at")}
    GROUP BY time
    ORDER BY time
"""

SHOPS = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id, shop, waiting, deepest, median_ms, p90_ms, joined, abandonment_rate
    FROM (
        SELECT store_id, {sql.VISIT_FIGURES} FROM visits FINAL WHERE {sql.STORES} AND {sql.window("started_at")} GROUP BY store_id
    ) AS seen
    LEFT JOIN (
        SELECT store_id, quantileExact(0.5)(dwell_ms) AS median_ms, quantileExact(0.9)(dwell_ms) AS p90_ms
        FROM {_STAYS}
        GROUP BY store_id
    ) AS tills USING (store_id)
    LEFT JOIN ({_LAST_DEPTHS}) AS queues USING (store_id)
    LEFT JOIN names USING (store_id)
    ORDER BY waiting DESC, p90_ms DESC, shop
    LIMIT 1000
"""


def queues() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Queues and waiting",
        "People at the tills: how many wait, how long they stay, and who gives up.",
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
                                Field("Waiting now", unit="locale"),
                                Field("Deepest", unit="locale", colours=steps(GREEN, (6, ORANGE), (11, RED))),
                                Field("At the till, median", unit="ms", decimals=0),
                                Field("At the till, one in ten longer than", unit="ms", decimals=0),
                                Field(
                                    "Gave up queueing",
                                    unit="percentunit",
                                    decimals=1,
                                    colours=steps(GREEN, (0.2, ORANGE), (0.5, RED)),
                                ),
                            ],
                            says="All chosen shops; time at the till is the stay in a billing zone, waiting and paying. "
                            "Gave up: orange from 20 %, "
                            "red from 50 %; deepest: orange above 5, red above 10",
                            empty=NOBODY,
                        ),
                    )
                ],
            ),
            (
                10,
                [
                    (
                        24,
                        lines(
                            "People waiting, the ten shops with the deepest queues",
                            [series(DEPTHS)],
                            says="The deepest queue of each interval; it holds until the next",
                            steps_held=True,
                            empty="Nobody has queued in this window",
                            fields=[Field("waiting", "${__field.labels.shop}")],
                        ),
                    )
                ],
            ),
            (
                9,
                [
                    (
                        12,
                        lines(
                            "Time at the till, by hour",
                            [series(WAITS)],
                            says="By the hour in which the stay began",
                            unit="ms",
                            empty=NOBODY,
                        ),
                    ),
                    (
                        12,
                        lines(
                            "Queued and gave up, by hour",
                            [series(GAVE_UP)],
                            says="Visits that joined the queue, and those of them that left it without buying",
                            as_bars=True,
                            fields=[
                                Field("queued", colour="semi-dark-blue"),
                                Field("gave up", colour="semi-dark-orange"),
                            ],
                        ),
                    ),
                ],
            ),
            (
                13,
                [
                    (
                        24,
                        rows(
                            "Shops, the longest queue first",
                            table(SHOPS),
                            [
                                STORE_ID,
                                SHOP,
                                Field(
                                    "waiting",
                                    "Waiting now",
                                    unit="locale",
                                    colours=steps("transparent", (6, ORANGE), (11, RED)),
                                ),
                                Field(
                                    "deepest",
                                    "Deepest",
                                    unit="locale",
                                    colours=steps("transparent", (6, ORANGE), (11, RED)),
                                ),
                                Field("median_ms", "Till, median", unit="ms", decimals=0),
                                Field("p90_ms", "Till, one in ten longer than", unit="ms", decimals=0),
                                Field("joined", "Queued", unit="locale"),
                                Field(
                                    "abandonment_rate",
                                    "Gave up",
                                    unit="percentunit",
                                    decimals=1,
                                    colours=steps("transparent", (0.2, ORANGE), (0.5, RED)),
                                ),
                            ],
                            says="Orange: more than 5 waiting, or 20 % gave up; red: more than 10, or 50 %",
                        ),
                    )
                ],
            ),
        ],
        variables=[store_variable(several=True)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False)],
        tags=["shops"],
    )
