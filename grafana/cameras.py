"""Cameras and feeds: which camera is well, and when each shop was last heard."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import (
    CAMERA,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SHOP,
    STORE_ID,
    Field,
    board,
    figures,
    lines,
    rows,
    states,
    steps,
    store_variable,
    to_dashboard,
    words,
)
from grafana.query import series, table

UID = "aisleflow-cameras"
#: Cameras report every five minutes: after three missed reports nobody watches them.
UNHEARD_MIN = 16
#: The states as numbers, which a time series needs, the worst lowest.
NUMBERS = {"OFFLINE": 0, "FROZEN": 1, "DEGRADED": 2, "ONLINE": 3}

# A camera of which nothing was heard for a week is taken down, not broken.
NOW = f"""
    SELECT
        store_id,
        camera_id,
        multiIf(
            kind = 'END', 'ENDED',
            received_at < now64(3, 'UTC') - INTERVAL {UNHEARD_MIN} MINUTE, 'UNHEARD',
            state
        ) AS state,
        reason,
        if(state = 'UNHEARD', received_at, coalesce(since, timestamp)) AS since,
        entries,
        entrance_balance
    FROM camera_states_newest FINAL
    WHERE {sql.STORES} AND received_at > now64(3, 'UTC') - INTERVAL 7 DAY
"""

TOTALS = f"""
    SELECT
        countIf(state = 'ONLINE') AS `Online`,
        countIf(state = 'DEGRADED') AS `Degraded`,
        countIf(state = 'FROZEN') AS `Frozen`,
        countIf(state = 'OFFLINE') AS `Offline`,
        countIf(state = 'UNHEARD') AS `Not heard`
    FROM ({NOW})
    HAVING count() > 0
"""

CAMERAS = f"""
    WITH names AS ({sql.NAMES})
    SELECT store_id, shop, camera_id, state, since, reason, entries, entrance_balance
    FROM ({NOW}) AS cameras
    LEFT JOIN names USING (store_id)
    ORDER BY indexOf(['OFFLINE', 'FROZEN', 'UNHEARD', 'DEGRADED', 'ONLINE', 'ENDED'], state), since, store_id, camera_id
    LIMIT 1000
"""

TROUBLED = f"""
    SELECT store_id, camera_id
    FROM camera_states FINAL
    WHERE {sql.STORES} AND $__timeFilter(timestamp) AND state != 'ONLINE'
    GROUP BY store_id, camera_id
    ORDER BY count() DESC, store_id, camera_id
    LIMIT 20
"""

HISTORY = f"""
    SELECT
        timestamp AS time,
        concat(store_id, ' ', camera_id) AS camera,
        toInt32(indexOf(['OFFLINE', 'FROZEN', 'DEGRADED', 'ONLINE'], state)) - 1 AS state
    FROM camera_states FINAL
    WHERE $__timeFilter(timestamp) AND (store_id, camera_id) IN ({TROUBLED})
    ORDER BY time, camera
"""

RATES = f"""
    SELECT $__timeInterval(timestamp) AS time, concat(store_id, ' ', camera_id) AS camera, min(read_fps) AS fps
    FROM camera_states FINAL
    WHERE $__timeFilter(timestamp) AND (store_id, camera_id) IN ({TROUBLED})
    GROUP BY time, camera
    ORDER BY time, camera
"""

FEEDS = f"""
    WITH names AS ({sql.NAMES})
    SELECT
        store_id,
        shop,
        last_event,
        greatest(0, dateDiff('second', last_event, now64(3, 'UTC'))) AS age_s,
        if(stale = '', 'HEARD', stale) AS state,
        arrival_s
    FROM (
        SELECT
            store_id,
            toDateTime64(max(last_event_timestamp), 3, 'UTC') AS last_event,
            greatest(0, dateDiff('second', last_event, max(last_received_at))) AS arrival_s
        FROM store_feed
        WHERE {sql.STORES}
        GROUP BY store_id
    ) AS feeds
    LEFT JOIN (
        SELECT store_id, min(severity) AS stale FROM anomalies FINAL
        WHERE type = 'STALE_FEED' AND closed_at IS NULL AND calm_since IS NULL
        GROUP BY store_id
    ) AS silent USING (store_id)
    LEFT JOIN names USING (store_id)
    ORDER BY stale = '', age_s DESC, store_id
    LIMIT 1000
"""

HEARD = f"""
    SELECT store_id, camera_id, last_heard, minutes_behind
    FROM (
        SELECT store_id, camera_id, toDateTime64(max(last_event_timestamp), 3, 'UTC') AS last_heard
        FROM camera_health WHERE {sql.STORES} GROUP BY store_id, camera_id
    ) AS cameras
    INNER JOIN (SELECT store_id, max(last_event_timestamp) AS newest FROM store_feed GROUP BY store_id) AS feeds USING (store_id)
    ORDER BY dateDiff('minute', last_heard, newest) AS minutes_behind DESC, store_id, camera_id
    LIMIT 200
"""


def cameras() -> Dashboard:
    """The dashboard."""
    numbered = words({str(NUMBERS[state]): CAMERA[state] for state in NUMBERS})
    no_reports = "No camera has reported on itself in the last 7 days: only cameras that `aisleflow camera` watches do"
    return board(
        UID,
        "Cameras and feeds",
        "Which cameras are well, since when not, and when each shop was last heard.",
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
                                Field("Online", unit="locale", colours=steps(GREY, (1, GREEN))),
                                Field("Degraded", unit="locale", colours=steps(GREY, (1, ORANGE))),
                                *(
                                    Field(name, unit="locale", colours=steps(GREY, (1, RED)))
                                    for name in ("Frozen", "Offline", "Not heard")
                                ),
                            ],
                            says=f"As cameras report of themselves every five minutes; not heard: no report for {UNHEARD_MIN} minutes",
                            empty=no_reports,
                        ),
                    )
                ],
            ),
            (
                10,
                [
                    (
                        14,
                        rows(
                            "Cameras, the worst first",
                            table(CAMERAS),
                            [
                                STORE_ID,
                                SHOP,
                                Field("camera_id", "Camera", width=150),
                                Field("state", "State", width=100, mappings=words(CAMERA)),
                                Field("since", "Since", width=160),
                                Field("reason", "Why"),
                                Field("entries", "Came in", unit="locale", width=80),
                                Field("entrance_balance", "More in than out", unit="locale", width=125),
                            ],
                            says="More in than out: after closing time it tells by how much the counts at the door are wrong",
                            empty=no_reports,
                        ),
                    ),
                    (
                        10,
                        rows(
                            "Feeds: when each shop was last heard",
                            table(FEEDS),
                            [
                                STORE_ID,
                                SHOP,
                                Field("last_event", "Last event", width=160),
                                Field("age_s", "Age", unit="s", decimals=0, width=90),
                                Field(
                                    "state",
                                    "State",
                                    width=150,
                                    mappings=words(
                                        {
                                            "HEARD": ("Heard, or closed", GREEN),
                                            "WARN": ("Silent over 10 min", ORANGE),
                                            "CRITICAL": ("Silent over 1 h", RED),
                                        }
                                    ),
                                ),
                                Field("arrival_s", "On its way", unit="s", decimals=0, width=90),
                            ],
                            says="Silent: nothing for 10 minutes within opening hours. "
                            "On its way: from the newest event's time until Kafka took it",
                            empty="No shop has sent anything yet",
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    (
                        24,
                        states(
                            "States over the window, of cameras that were not well",
                            series(HISTORY),
                            [Field("state", "${__field.labels.camera}", mappings=numbered)],
                            says="The twenty cameras with the most reports of trouble",
                            empty="Every camera that reports was online all the time, or none reports",
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
                            "Frames a second of cameras that were not well",
                            [series(RATES)],
                            says="What the camera sent; the least within each interval",
                            unit="locale",
                            empty="Every camera that reports was online all the time, or none reports",
                            fields=[Field("fps", "${__field.labels.camera}")],
                        ),
                    ),
                    (
                        12,
                        rows(
                            "When each camera last sent an event",
                            table(HEARD),
                            [
                                Field("store_id", "Shop"),
                                Field("camera_id", "Camera"),
                                Field("last_heard", "Last event", width=170),
                                Field(
                                    "minutes_behind",
                                    "Behind its shop",
                                    unit="m",
                                    decimals=0,
                                    width=150,
                                    colours=steps("transparent", (10, ORANGE), (60, RED)),
                                ),
                            ],
                            says="Compared with the newest event of its shop: orange from 10 minutes on, red from an hour on",
                            empty="No camera has sent an event yet",
                        ),
                    ),
                ],
            ),
        ],
        variables=[store_variable(several=True)],
        links=[to_dashboard("Wall", "aisleflow-wall", keep_shop=False)],
        tags=["operations"],
    )
