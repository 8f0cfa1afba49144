"""Anomalies: what is open, what was, and for how long."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SEVERITY,
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

UID = "aisleflow-anomalies"
NONE = "Nothing was out of the ordinary in this window"

# Open at any time in the window.
_IN_WINDOW = f"anomalies FINAL WHERE {sql.STORES} AND detected_at <= $__toTime AND (closed_at IS NULL OR closed_at >= $__fromTime)"

TOTALS = f"""
    SELECT
        countIf(closed_at IS NULL AND calm_since IS NULL AND severity = 'CRITICAL') AS `Critical`,
        countIf(closed_at IS NULL AND calm_since IS NULL AND severity = 'WARN') AS `Warnings`,
        countIf(closed_at IS NULL AND calm_since IS NULL AND severity = 'INFO') AS `Notes`,
        countIf(closed_at IS NOT NULL) AS `Over by now`,
        avgOrNullIf(dateDiff('second', detected_at, ifNull(closed_at, detected_at)), closed_at IS NOT NULL) AS `Mean time open`
    FROM {_IN_WINDOW}
    HAVING count() > 0
"""

LIST = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id, shop, severity, type, subject, message, unusual, suggested_action, detected_at,
        dateDiff('second', detected_at, ifNull(closed_at, now64(3, 'UTC'))) AS open_s,
        multiIf(closed_at IS NOT NULL, 'over', seen_by != '', concat('seen by ', seen_by), 'open') AS state
    FROM (
        SELECT store_id, anomaly_id, severity, type, subject, message, unusual, suggested_action, detected_at, closed_at
        FROM {_IN_WINDOW}
    ) AS found
    LEFT JOIN ({sql.SEEN}) AS seen USING (store_id, anomaly_id)
    LEFT JOIN names USING (store_id)
    ORDER BY closed_at IS NULL DESC, {sql.SEVERITY_RANK}, detected_at DESC
    LIMIT 500
"""

BY_HOUR = f"""
    SELECT toStartOfHour(detected_at) AS time, type, count() AS found
    FROM anomalies FINAL
    WHERE {sql.STORES} AND $__timeFilter(detected_at)
    GROUP BY time, type
    ORDER BY time, type
"""

BY_SHOP = f"""
    WITH names AS ({sql.NAMES})
    SELECT if(shop = '', store_id, shop) AS shop, found
    FROM (SELECT store_id, count() AS found FROM {_IN_WINDOW} GROUP BY store_id ORDER BY found DESC, store_id LIMIT 12) AS counted
    LEFT JOIN names USING (store_id)
    ORDER BY found DESC, shop
"""

BY_TYPE = f"""
    SELECT
        type,
        count() AS found,
        countIf(closed_at IS NULL AND calm_since IS NULL) AS open,
        uniqExact(store_id) AS shops,
        median(dateDiff('second', detected_at, ifNull(closed_at, now64(3, 'UTC')))) AS median_open_s
    FROM {_IN_WINDOW}
    GROUP BY type
    ORDER BY found DESC, type
"""


def anomalies() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Anomalies",
        "What is out of the ordinary and what to do about it. docs/metrics.md says when each opens.",
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
                                Field("Critical", unit="locale", colours=steps(GREEN, (1, RED))),
                                Field("Warnings", unit="locale", colours=steps(GREEN, (1, ORANGE))),
                                Field("Notes", unit="locale", colours=steps(GREY, (1, BLUE))),
                                Field("Over by now", unit="locale"),
                                Field("Mean time open", unit="s", decimals=0, empty="none over yet"),
                            ],
                            says="Critical, warnings and notes are open now; the others were open within the window",
                            empty=NONE,
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
                            "Open first, the worst first",
                            table(LIST),
                            [
                                STORE_ID,
                                SHOP,
                                Field("severity", "How bad", width=90, mappings=words(SEVERITY)),
                                Field("type", "What", width=170),
                                Field("subject", "Where", width=120),
                                Field("message", "Message", width=360),
                                Field("unusual", "How unusual", width=200),
                                Field("suggested_action", "What to do"),
                                Field("detected_at", "Since", width=160),
                                Field("open_s", "For", unit="s", decimals=1, width=90),
                                Field("state", "State", width=130),
                            ],
                            says="Everything that was open at any time in the window",
                            empty=NONE,
                        ),
                    )
                ],
            ),
            (
                9,
                [
                    (
                        10,
                        lines(
                            "Opened, by hour",
                            [series(BY_HOUR)],
                            says="By the hour of the event at which it opened",
                            as_bars=True,
                            stacked=True,
                            empty=NONE,
                            fields=[Field("found", "${__field.labels.type}")],
                        ),
                    ),
                    (
                        7,
                        rows(
                            "By kind",
                            table(BY_TYPE),
                            [
                                Field("type", "What"),
                                Field("found", "Found", width=65),
                                Field("open", "Open", width=60),
                                Field("shops", "Shops", width=65),
                                Field("median_open_s", "Median time", unit="s", decimals=1, width=105),
                            ],
                            says="Found within the window, and how long the middle one was open",
                            empty=NONE,
                        ),
                    ),
                    (
                        7,
                        bars(
                            "Shops with the most",
                            table(BY_SHOP),
                            says="Open within the window",
                            empty=NONE,
                            all_rows=True,
                        ),
                    ),
                ],
            ),
        ],
        variables=[store_variable(several=True)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False)],
        tags=["operations"],
    )
