"""One shop's day: what an operator looks at after the wall named the shop."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    GREEN,
    ORANGE,
    RED,
    SEVERITY,
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

UID = "aisleflow-shop"

# The queue starts every business day from 0: the depth at the end of the window is the last of its last day.
FIGURES = f"""
    SELECT
        visitors AS `Visitors`,
        conversion_rate AS `Bought`,
        attributed_conversion_rate AS `Bought, by receipt`,
        waiting AS `Waiting`,
        abandonment_rate AS `Gave up queueing`,
        avg_dwell_ms AS `Stay in a zone`
    FROM (
        SELECT {sql.VISIT_FIGURES}, count() AS visits
        FROM visits FINAL
        WHERE {sql.ONE_STORE} AND {sql.window("started_at")}
    ) AS seen
    CROSS JOIN (
        SELECT toUInt32(ifNotFinite(avg(dwell_ms), 0)) AS avg_dwell_ms
        FROM zone_visits FINAL
        WHERE {sql.ONE_STORE} AND NOT is_staff AND {sql.window("started_at")}
    ) AS stays
    CROSS JOIN (
        SELECT argMax(depth, timestamp) AS waiting
        FROM queue_depth FINAL
        WHERE {sql.ONE_STORE} AND {sql.window("timestamp")}
    ) AS queue
    WHERE visits > 0
"""

MONEY = f"""
    SELECT
        receipts AS `Receipts`,
        revenue AS `Revenue`,
        if(receipts = 0, 0, revenue / receipts) AS `A receipt`,
        staff_visits AS `Staff seen`,
        unmatched_visitors AS `Missed at the door`,
        last_event AS `Last event`
    FROM (
        SELECT {sql.VISIT_FIGURES}
        FROM visits FINAL
        WHERE {sql.ONE_STORE} AND {sql.window("started_at")}
    ) AS seen
    CROSS JOIN (
        SELECT count() AS receipts, toFloat64(sum(basket_value)) AS revenue
        FROM transactions FINAL
        WHERE {sql.ONE_STORE} AND $__timeFilter(timestamp)
    ) AS paid
    CROSS JOIN (
        SELECT
            greatest(0, dateDiff('second', max(last_event_timestamp), now64(3, 'UTC'))) AS age_s,
            concat({sql.ago("age_s")}, ' ago') AS last_event,
            count() AS known
        FROM store_feed
        WHERE {sql.ONE_STORE}
    ) AS feed
    WHERE known > 0
"""

VISITORS = f"""
    SELECT toStartOfFifteenMinutes(started_at) AS time, countIf(is_visitor) AS `came in`, countIf(is_visitor AND purchased) AS `bought`
    FROM visits FINAL
    WHERE {sql.ONE_STORE} AND {sql.window("started_at")}
    GROUP BY time
    ORDER BY time
"""

QUEUE = f"""
    SELECT $__timeInterval(timestamp) AS time, max(depth) AS `people waiting`
    FROM queue_depth FINAL
    WHERE {sql.ONE_STORE} AND {sql.window("timestamp")}
    GROUP BY time
    ORDER BY time
"""

FINDINGS = f"""
    SELECT
        severity, type, subject, message, suggested_action, detected_at,
        multiIf(closed_at IS NOT NULL, 'over', seen_by != '', concat('seen by ', seen_by), 'open') AS state
    FROM (
        SELECT store_id, anomaly_id, severity, type, subject, message, suggested_action, detected_at, closed_at
        FROM anomalies FINAL
        WHERE {sql.ONE_STORE} AND detected_at <= $__toTime AND (closed_at IS NULL OR $__timeFilter(closed_at))
    ) AS found
    LEFT JOIN ({sql.SEEN}) AS seen USING (store_id, anomaly_id)
    ORDER BY closed_at IS NULL DESC, {sql.SEVERITY_RANK}, detected_at DESC
    LIMIT 50
"""

FUNNEL = f"""
    SELECT {sql.FUNNEL}
    FROM visits FINAL
    WHERE {sql.ONE_STORE} AND {sql.window("started_at")}
    HAVING count() > 0
"""

ZONES = f"""
    SELECT
        zone_id,
        count() AS frequency,
        avg(dwell_ms) AS avg_dwell_ms,
        round(100 * frequency / max(frequency) OVER ()) AS normalized,
        if(frequency < 20, 'LOW', 'HIGH') AS data_confidence
    FROM zone_visits FINAL
    WHERE {sql.ONE_STORE} AND NOT is_staff AND {sql.window("started_at")}
    GROUP BY zone_id
    ORDER BY frequency DESC, zone_id
    LIMIT 50
"""

FINDING_FIELDS = [
    Field("severity", "How bad", width=90, mappings=words(SEVERITY)),
    Field("type", "What", width=170),
    Field("subject", "Where", width=120),
    Field("message", "Message", width=330),
    Field("suggested_action", "What to do"),
    Field("detected_at", "Since", width=160),
    Field("state", "State", width=130),
]

ZONE_FIELDS = [
    Field("zone_id", "Zone"),
    Field("frequency", "Zone visits", unit="locale", width=100),
    Field("avg_dwell_ms", "Mean stay", unit="ms", decimals=0, width=100),
    Field("normalized", "Of the busiest", unit="percent", decimals=0, width=110),
    Field(
        "data_confidence",
        "Confidence",
        width=130,
        mappings=words({"LOW": ("Low: under 20 visits", ORANGE), "HIGH": ("High", GREEN)}),
    ),
]


def shop() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Shop's day",
        "One shop over the window chosen above, as the API's answers with from and to. Figures are explained in docs/metrics.md.",
        [
            (
                4,
                [
                    (
                        24,
                        figures(
                            "People",
                            table(FIGURES),
                            [
                                Field("Visitors", unit="locale"),
                                Field("Bought", unit="percentunit", decimals=1),
                                Field("Bought, by receipt", unit="percentunit", decimals=1),
                                Field("Waiting", unit="locale", colours=steps(GREEN, (6, ORANGE), (11, RED))),
                                Field("Gave up queueing", unit="percentunit", decimals=1),
                                Field("Stay in a zone", unit="ms", decimals=0),
                            ],
                            says="Staff are left out. Bought: at the till in the five minutes before a receipt. "
                            "By receipt: claimed by one receipt each. "
                            "Waiting: at the end of the window; orange above 5, red above 10",
                            size=38,
                        ),
                    )
                ],
            ),
            (
                4,
                [
                    (
                        24,
                        figures(
                            "Tills and cameras",
                            table(MONEY),
                            [
                                Field("Receipts", unit="locale"),
                                Field("Revenue", unit="locale", decimals=0),
                                Field("A receipt", unit="locale", decimals=2),
                                Field("Staff seen", unit="locale"),
                                Field("Missed at the door", unit="locale"),
                            ],
                            says="Money is in the shop's currency. Missed at the door: visits seen inside only; many of them mean that the "
                            "entrance camera is not well",
                            empty="This shop has sent nothing yet: see Pipeline health, and its cameras and tills",
                            size=38,
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
                            "Visitors per quarter of an hour",
                            [series(VISITORS)],
                            says="By the time they came in",
                            as_bars=True,
                        ),
                    ),
                    (
                        12,
                        lines(
                            "People waiting to pay",
                            [series(QUEUE)],
                            says="The deepest queue of each interval; it holds until the next",
                            steps_held=True,
                            empty="Nobody has queued in this window",
                        ),
                    ),
                ],
            ),
            (
                8,
                [
                    (
                        24,
                        rows(
                            "Out of the ordinary",
                            table(FINDINGS),
                            FINDING_FIELDS,
                            says="What was open at any time in the window, what is open first",
                            empty="Nothing out of the ordinary in this window",
                        ),
                    )
                ],
            ),
            (
                9,
                [
                    (
                        10,
                        bars(
                            "From the door to the till",
                            table(FUNNEL),
                            says="Visitors who got so far; each step is part of the one above",
                        ),
                    ),
                    (
                        14,
                        rows(
                            "Zones",
                            table(ZONES),
                            ZONE_FIELDS,
                            says="Stays in each zone, staff left out, visitors missed at the door included",
                        ),
                    ),
                ],
            ),
        ],
        variables=[store_variable(several=False)],
        links=[
            to_dashboard("Wall", "aisleflow-wall", keep_shop=False),
            to_dashboard("Funnel", "aisleflow-funnel"),
            to_dashboard("Queues", "aisleflow-queues"),
            to_dashboard("Zones by hour", "aisleflow-zones"),
            to_dashboard("Cameras and feeds", "aisleflow-cameras"),
        ],
        tags=["shop"],
    )
