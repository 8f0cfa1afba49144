"""The wall: all shops on one screen, the worst first. Made to be read from across a room, so almost everything is large text."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SOLID,
    Field,
    beginnings,
    board,
    figures,
    lines,
    lines_of_text,
    to_dashboard,
)
from grafana.query import series, table

UID = "aisleflow-wall"
#: Lines in each of the two columns of shops.
LINES = 12
#: Rows of the grid: with Grafana's toolbar above they end within 1,080 pixels.
HEIGHT = 26

# Each shop on its newest business day within the window, so that shops in other time zones show a day of theirs. How far behind it
# is follows from its partition: kafkaMurmurHash is what Kafka's default partitioner does with a key.
SHOPS = f"""
    names AS ({sql.NAMES}),
    feed AS (SELECT store_id, max(last_event_timestamp) AS last_event FROM store_feed GROUP BY store_id),
    days AS (
        SELECT store_id, business_day, countIf(is_visitor) AS visitors, countIf(is_visitor AND purchased) AS buyers
        FROM visits FINAL
        WHERE {sql.window("started_at")}
        GROUP BY store_id, business_day
        ORDER BY business_day DESC
        LIMIT 1 BY store_id
    ),
    queues AS (
        SELECT store_id, business_day, argMax(depth, timestamp) AS waiting
        FROM queue_depth FINAL
        WHERE {sql.window("timestamp")}
        GROUP BY store_id, business_day
    ),
    findings AS (
        SELECT store_id, seen_by, if(seen_by = '', {sql.SEVERITY_RANK}, 4) AS severity_rank, type, value
        FROM (SELECT store_id, anomaly_id, severity, type, value, detected_at FROM anomalies FINAL
            WHERE closed_at IS NULL AND calm_since IS NULL) AS open
        LEFT JOIN ({sql.SEEN}) AS seen USING (store_id, anomaly_id)
        ORDER BY severity_rank, detected_at DESC
        LIMIT 1 BY store_id
    ),
    lag AS (
        SELECT partition, max(behind_s) AS behind_s, max(partitions) AS partitions
        FROM ({sql.LAG})
        WHERE is_of_shops
        GROUP BY partition
    ),
    shops AS (
        SELECT
            names.store_id AS store_id,
            shop,
            toUnixTimestamp(last_event) > 0 AS is_heard,
            greatest(0, dateDiff('second', last_event, now64(3, 'UTC'))) AS age_s,
            visitors,
            buyers,
            waiting,
            lag.behind_s AS behind_s,
            multiIf(severity_rank = 1, 1, behind_s > {sql.WORTH_SAYING_S}, 2, severity_rank = 0, 6, severity_rank + 1) AS rank,
            multiIf(
                type = 'QUEUE_SPIKE', concat('queue ', toString(toUInt32(value))),
                type = 'STALE_FEED', concat('silent ', {sql.ago("age_s")}),
                type = 'CONVERSION_DROP', 'few buy',
                type = 'ABANDONMENT_SPIKE', 'many give up',
                type = 'DEAD_ZONE', 'empty zone',
                type = 'FOOTFALL_DROP', 'few people',
                type = 'FOOTFALL_SURGE', 'many people',
                lower(replaceAll(type, '_', ' '))
            ) AS reason,
            multiIf(
                NOT is_heard, 'NO EVENTS YET',
                rank = 1, concat('CRITICAL: ', reason),
                rank = 2, concat('BEHIND by ', {sql.ago("behind_s")}),
                rank = 3, concat('WARNING: ', reason),
                rank = 6, 'OK',
                seen_by != '', concat('SEEN by ', leftUTF8(seen_by, 12)),
                concat('NOTE: ', reason)
            ) AS state
        FROM names
        LEFT JOIN feed ON feed.store_id = names.store_id
        LEFT JOIN days ON days.store_id = names.store_id
        LEFT JOIN queues ON queues.store_id = names.store_id AND queues.business_day = days.business_day
        LEFT JOIN findings ON findings.store_id = names.store_id
        LEFT JOIN lag ON lag.partition = kafkaMurmurHash(names.store_id) % greatest(1, (SELECT max(partitions) FROM lag))
    )
"""

TOTALS = f"""
    WITH {SHOPS}
    SELECT
        concat(toString(countIf(rank <= 3)), ' of ', toString(count())) AS `Shops in trouble`,
        sum(visitors) AS `Visitors today`,
        if(`Visitors today` = 0, 0, sum(buyers) / `Visitors today`) AS `Bought`,
        sum(waiting) AS `Waiting now`,
        concat({sql.ago("minIf(age_s, is_heard)")}, ' ago') AS `Newest event`,
        multiIf(
            (SELECT count() FROM lag) = 0, 'NO WORKER',
            ifNull((SELECT max(behind_s) FROM lag), 0) AS late_s > {sql.WORTH_SAYING_S}, concat({sql.ago("late_s")}, ' late'),
            'LIVE'
        ) AS `Figures`,
        toUnixTimestamp64Milli(now64(3)) AS `Updated`
    FROM shops
    HAVING countIf(is_heard) > 0
"""

STATES = {
    "CRITICAL": SOLID[RED],
    "BEHIND": SOLID[ORANGE],
    "WARNING": SOLID[ORANGE],
    "NOTE": SOLID[BLUE],
    "SEEN": SOLID[BLUE],
    "OK": SOLID[GREEN],
    "NO EVENTS": SOLID[GREY],
}


def shop_lines(remainder: int) -> str:
    """Every second shop, the worst first: the two columns are read together, line by line."""
    return f"""
    WITH {SHOPS}
    SELECT
        store_id,
        concat(
            leftUTF8(shop, 16), '  ·  ', toString(visitors), ' in  ·  ',
            if(visitors = 0, '', concat(toString(round(100 * buyers / visitors)), ' % bought  ·  ')),
            toString(waiting), ' waiting',
            if(is_heard, concat('  ·  last event ', {sql.ago("age_s")}, ' ago'), '')
        ) AS line,
        state
    FROM (SELECT *, row_number() OVER (ORDER BY rank, waiting DESC, visitors DESC, shop) AS place FROM shops)
    WHERE place % 2 = {remainder}
    ORDER BY place
    LIMIT {LINES}
"""


FINDINGS = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id,
        concat(if(shop = '', store_id, shop), if(subject = '', '', concat(' · ', subject)), ': ', message, ' → ', suggested_action) AS line,
        if(
            seen_by = '',
            transform(severity, ['CRITICAL', 'WARN', 'INFO'], ['CRITICAL', 'WARNING', 'NOTE'], severity),
            concat('SEEN by ', leftUTF8(seen_by, 12))
        ) AS state
    FROM (
        SELECT *, if(seen_by = '', {sql.SEVERITY_RANK}, 5) AS severity_rank
        FROM (
            SELECT store_id, anomaly_id, subject, message, suggested_action, severity, detected_at
            FROM anomalies FINAL
            WHERE closed_at IS NULL AND calm_since IS NULL
        ) AS open
        LEFT JOIN ({sql.SEEN}) AS seen USING (store_id, anomaly_id)
        ORDER BY severity_rank, detected_at DESC
        LIMIT 6
    ) AS found
    LEFT JOIN names USING (store_id)
    ORDER BY severity_rank, detected_at DESC
"""

QUARTERS = """
    SELECT toStartOfFifteenMinutes({time}) AS time, countIf(is_visitor) AS `{name}`
    FROM visits FINAL
    WHERE {window}
    GROUP BY time
    ORDER BY time
"""


def wall() -> Dashboard:
    """The dashboard."""
    shops = [
        lines_of_text(
            "",
            table(shop_lines(remainder)),
            says="Shops, the worst first, read from left to right: today's visitors, the share that bought, people waiting, "
            "the age of the last event",
            empty=empty,
            colours=STATES,
        )
        for remainder, empty in ((1, "No shops yet: send events, or start `aisleflow demo`"), (0, "No further shops"))
    ]
    return board(
        UID,
        "Wall",
        "All shops on one screen, the worst first. Open it with &kiosk; `aisleflow grafana links` prints the address.",
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
                                Field("Shops in trouble", mappings=beginnings({"0 of": GREEN, "": ORANGE})),
                                Field("Visitors today", unit="locale", decimals=0),
                                Field("Bought", unit="percentunit", decimals=1),
                                Field("Waiting now", unit="locale", decimals=0),
                                Field("Figures", mappings=beginnings({"LIVE": GREEN, "NO": RED, "": ORANGE})),
                                Field("Updated", unit="time:HH:mm:ss"),
                            ],
                            says="All shops together, each on its own business day; shops in trouble have a warning or a critical "
                            "finding open, or their figures are behind",
                            empty="No events yet: start cameras and tills, or `aisleflow demo`",
                            size=40,
                        ),
                    )
                ],
            ),
            (14, [(12, panel) for panel in shops]),
            (
                HEIGHT - 18,
                [
                    (
                        15,
                        lines_of_text(
                            "",
                            table(FINDINGS),
                            says="What is out of the ordinary now and what to do about it, the worst first",
                            empty="Nothing out of the ordinary",
                            colours=STATES,
                            size=20,
                        ),
                    ),
                    (
                        9,
                        lines(
                            "Visitors per quarter of an hour, and a week before",
                            [
                                series(QUARTERS.format(time="started_at", name="now", window=sql.window("started_at"))),
                                series(
                                    QUARTERS.format(
                                        time="started_at + INTERVAL 7 DAY",
                                        name="a week before",
                                        window=sql.week_before("started_at"),
                                    ),
                                    "B",
                                ),
                            ],
                            says="People who came in, all shops together",
                            fields=[Field("a week before", colour="#8e8e8e"), Field("now", colour="blue")],
                        ),
                    ),
                ],
            ),
        ],
        tags=["wall"],
        links=[
            to_dashboard("Anomalies", "aisleflow-anomalies", keep_shop=False),
            to_dashboard("Pipeline health", "aisleflow-pipeline", keep_shop=False),
        ],
    )
