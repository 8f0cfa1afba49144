"""Funnel and conversion beside the same window a week before."""

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
)
from grafana.query import series, table

UID = "aisleflow-funnel"

_BOTH = f"""
    SELECT 'now' AS week, * FROM visits FINAL WHERE {sql.STORES} AND {sql.window("started_at")}
    UNION ALL
    SELECT 'before' AS week, * FROM visits FINAL WHERE {sql.STORES} AND {sql.week_before("started_at")}
"""

_COMPARED = """
    countIf(is_visitor AND week = 'now') AS visitors,
    countIf(is_visitor AND week = 'before') AS visitors_before,
    if(visitors = 0, 0, countIf(is_visitor AND purchased AND week = 'now') / visitors) AS conversion_rate,
    if(visitors_before = 0, 0, countIf(is_visitor AND purchased AND week = 'before') / visitors_before) AS conversion_before
"""

TOTALS = f"""
    SELECT
        visitors AS `Visitors`,
        visitors_before AS `Visitors a week before`,
        conversion_rate AS `Bought`,
        conversion_before AS `Bought a week before`,
        if(visitors_before = 0, NULL, conversion_rate - conversion_before) AS `Difference`
    FROM (SELECT {_COMPARED} FROM ({_BOTH}) HAVING count() > 0)
"""

SHOPS = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id, shop, visitors, visitors_before, conversion_rate, conversion_before,
        if(visitors_before < 20 OR visitors < 20, NULL, conversion_rate - conversion_before) AS difference
    FROM (SELECT store_id, {_COMPARED} FROM ({_BOTH}) GROUP BY store_id) AS compared
    LEFT JOIN names USING (store_id)
    ORDER BY difference IS NULL, difference, shop
    LIMIT 1000
"""

RATE = """
    SELECT toStartOfHour({time}) AS time, countIf(is_visitor AND purchased) / countIf(is_visitor) AS `{name}`
    FROM visits FINAL
    WHERE {stores} AND {window}
    GROUP BY time
    HAVING countIf(is_visitor) > 0
    ORDER BY time
"""


def steps_of(window: str) -> str:
    """The funnel in one window."""
    return f"SELECT {sql.FUNNEL} FROM visits FINAL WHERE {sql.STORES} AND {window} HAVING count() > 0"


def funnel() -> Dashboard:
    """The dashboard."""
    shifted = "started_at + INTERVAL 7 DAY"
    now = series(RATE.format(time="started_at", name="now", stores=sql.STORES, window=sql.window("started_at")))
    before = series(
        RATE.format(time=shifted, name="a week before", stores=sql.STORES, window=sql.week_before("started_at")), "B"
    )
    nothing_before = "No visits a week before: it takes a week of data to compare"
    return board(
        UID,
        "Funnel and conversion",
        "Where people drop out between the door and the till, beside the same window a week before.",
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
                                Field("Visitors", unit="locale"),
                                Field("Visitors a week before", unit="locale"),
                                Field("Bought", unit="percentunit", decimals=1),
                                Field("Bought a week before", unit="percentunit", decimals=1),
                                Field(
                                    "Difference",
                                    unit="percentunit",
                                    decimals=1,
                                    empty="not known",
                                    colours=steps(RED, (-0.05, ORANGE), (0, GREEN)),
                                ),
                            ],
                            says="All chosen shops together. Difference in points: red when conversion fell by more than 5, "
                            "orange when it fell",
                        ),
                    )
                ],
            ),
            (
                9,
                [
                    (12, bars("Now", table(steps_of(sql.window("started_at"))), says="Visitors who got so far")),
                    (
                        12,
                        bars(
                            "A week before",
                            table(steps_of(sql.week_before("started_at"))),
                            says="The same window, seven days earlier",
                            empty=nothing_before,
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    (
                        24,
                        lines(
                            "Share of visitors who bought, by hour",
                            [now, before],
                            says="Of those who came in within the hour; the week before is shifted to lie under this one",
                            unit="percentunit",
                            maximum=1,
                            fields=[Field("a week before", colour="#8e8e8e"), Field("now", colour="blue")],
                        ),
                    )
                ],
            ),
            (
                14,
                [
                    (
                        24,
                        rows(
                            "Shops, what fell most first",
                            table(SHOPS),
                            [
                                STORE_ID,
                                SHOP,
                                Field("visitors", "Visitors", unit="locale"),
                                Field("visitors_before", "A week before", unit="locale"),
                                Field("conversion_rate", "Bought", unit="percentunit", decimals=1),
                                Field("conversion_before", "A week before ", unit="percentunit", decimals=1),
                                Field(
                                    "difference",
                                    "Difference, points",
                                    unit="percentunit",
                                    decimals=1,
                                    empty="too few visitors",
                                    colours=steps(RED, (-0.05, ORANGE), (0, GREEN)),
                                ),
                            ],
                            says="A difference is given from 20 visitors on, now and then",
                        ),
                    )
                ],
            ),
        ],
        variables=[store_variable(several=True)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False)],
        tags=["shops"],
    )
