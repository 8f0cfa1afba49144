"""Pipeline health: how far the workers are, how long their cycles take, and what they could not read."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import sql
from grafana.panels import GREEN, GREY, ORANGE, RED, Field, board, figures, lines, rows, steps, to_dashboard, words
from grafana.query import series, table

UID = "aisleflow-pipeline"
NO_WORKERS = (
    "No worker wrote in this window: start workers (`aisleflow worker`, or `aisleflow up`), or look at their logs"
)
NO_LETTERS = "No record was refused in this window"
#: A worker writes every 10 seconds.
GONE_S = 30

# The last minute: rates over it, and states at its end.
TOTALS = f"""
    SELECT
        workers AS `Workers`,
        records_a_second AS `Records a second`,
        waiting AS `Records waiting`,
        behind_s AS `Behind`,
        letters AS `Dead letters`,
        letters_waiting AS `Dead letters waiting`
    FROM (SELECT sum(lag_records) AS waiting, max(behind_s) AS behind_s, count() AS partitions FROM ({sql.LAG})) AS lag
    CROSS JOIN (
        SELECT uniqExactIf(worker, at >= $__toTime - INTERVAL {GONE_S} SECOND) AS workers, sum(records) / 60 AS records_a_second
        FROM worker_health FINAL
        WHERE at >= $__toTime - INTERVAL 1 MINUTE AND at <= $__toTime
    ) AS health
    CROSS JOIN (
        SELECT countIf($__timeFilter(at)) AS letters, countIf(handled = '') AS letters_waiting FROM dead_letters FINAL
    ) AS dead
    WHERE partitions > 0
"""

_SUM = """
    SELECT $__timeInterval(at) AS time, worker, {value} AS {name}
    FROM worker_health FINAL
    WHERE $__timeFilter(at)
    GROUP BY time, worker
    ORDER BY time, worker
"""


def by_worker(value: str, name: str) -> str:
    """A figure of each worker over time."""
    return _SUM.format(value=value, name=name)


BEHIND = f"""
    SELECT $__timeInterval(at) AS time, {sql.READ_FOR} AS read, max(behind_ms) / 1000 AS behind_s
    FROM topic_lag FINAL
    WHERE $__timeFilter(at)
    GROUP BY time, read
    ORDER BY time, read
"""

# Of each partition the most within the interval, added up.
WAITING = f"""
    SELECT time, read, sum(lag) AS waiting
    FROM (
        SELECT $__timeInterval(at) AS time, {sql.READ_FOR} AS read, partition, max(lag_records) AS lag
        FROM topic_lag FINAL
        WHERE $__timeFilter(at)
        GROUP BY time, read, partition
    )
    GROUP BY time, read
    ORDER BY time, read
"""

CYCLES = """
    SELECT $__timeInterval(at) AS time, max(cycle_p50_ms) AS `median`, max(cycle_max_ms) AS `longest`
    FROM worker_health FINAL
    WHERE $__timeFilter(at)
    GROUP BY time
    ORDER BY time
"""

LETTERS = """
    SELECT $__timeInterval(at) AS time, topic, count() AS letters
    FROM dead_letters FINAL
    WHERE $__timeFilter(at)
    GROUP BY time, topic
    ORDER BY time, topic
"""

LETTER_LIST = """
    SELECT at, topic, partition, offset, store_id, stage, error, message, if(handled = '', 'waits', handled) AS handled
    FROM dead_letters FINAL
    WHERE $__timeFilter(at)
    ORDER BY at DESC, topic, partition, offset DESC
    LIMIT 100
"""

WORKERS = f"""
    SELECT
        worker,
        if(dateDiff('second', newest, toDateTime64($__toTime, 3)) > {GONE_S}, 'GONE', 'RUNS') AS state,
        newest,
        partitions,
        behind_s,
        records_a_second,
        open_visits,
        rss_bytes,
        retries
    FROM (
        SELECT
            worker,
            max(at) AS newest,
            sumIf(records, at >= $__toTime - INTERVAL 1 MINUTE) / 60 AS records_a_second,
            argMax(open_visits, at) AS open_visits,
            argMax(rss_bytes, at) AS rss_bytes,
            sum(retries) AS retries
        FROM worker_health FINAL
        WHERE $__timeFilter(at)
        GROUP BY worker
    ) AS workers
    LEFT JOIN (
        SELECT holder AS worker, count() AS partitions, max(behind_s) AS behind_s FROM ({sql.LAG}) GROUP BY holder
    ) AS lag USING (worker)
    ORDER BY state, worker
    LIMIT 100
"""


def pipeline() -> Dashboard:
    """The dashboard."""
    return board(
        UID,
        "Pipeline health",
        "How far the workers are behind the log, how long their cycles take, and what they could not read.",
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
                                Field("Workers", unit="locale", colours=steps(RED, (1, GREEN))),
                                Field("Records a second", unit="locale", decimals=0),
                                Field("Records waiting", unit="locale"),
                                Field(
                                    "Behind",
                                    unit="s",
                                    decimals=0,
                                    colours=steps(GREEN, (sql.WORTH_SAYING_S, ORANGE), (60, RED)),
                                ),
                                Field("Dead letters", unit="locale", colours=steps(GREEN, (1, ORANGE))),
                                Field("Dead letters waiting", unit="locale", colours=steps(GREY, (1, ORANGE))),
                            ],
                            says="Behind: age of the oldest record that no worker has confirmed; orange above 10 seconds, "
                            "red above a minute. "
                            "Dead letters: refused in the window, and still waiting to be replayed or dropped",
                            empty=NO_WORKERS,
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
                            "Behind, by topic",
                            [series(BEHIND)],
                            says="Age of the oldest record that waits; the most of all partitions",
                            unit="s",
                            empty=NO_WORKERS,
                            fields=[Field("behind_s", "${__field.labels.read}")],
                        ),
                    ),
                    (
                        12,
                        lines(
                            "Records waiting, by topic",
                            [series(WAITING)],
                            says="Records on the log that no worker has confirmed",
                            empty=NO_WORKERS,
                            fields=[Field("waiting", "${__field.labels.read}")],
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    (
                        12,
                        lines(
                            "Records a second, by worker",
                            [series(by_worker("sum(records) / greatest($__interval_s, 10)", "records"))],
                            says="Read from Kafka, on average over the interval",
                            stacked=True,
                            empty=NO_WORKERS,
                            fields=[Field("records", "${__field.labels.worker}")],
                        ),
                    ),
                    (
                        12,
                        lines(
                            "Time of a cycle",
                            [series(CYCLES)],
                            says="From the first record taken to all confirmed: the slowest worker's median, and the longest of all",
                            unit="ms",
                            empty=NO_WORKERS,
                        ),
                    ),
                ],
            ),
            (
                8,
                [
                    (
                        14,
                        rows(
                            "Workers",
                            table(WORKERS),
                            [
                                Field("worker", "Worker"),
                                Field(
                                    "state",
                                    "State",
                                    width=80,
                                    mappings=words({"RUNS": ("Runs", GREEN), "GONE": ("Gone", RED)}),
                                ),
                                Field("newest", "Last word", width=160),
                                Field("partitions", "Partitions", width=85),
                                Field(
                                    "behind_s",
                                    "Behind",
                                    unit="s",
                                    decimals=0,
                                    width=80,
                                    colours=steps("transparent", (sql.WORTH_SAYING_S, ORANGE), (60, RED)),
                                ),
                                Field("records_a_second", "Records/s", unit="locale", decimals=0, width=90),
                                Field("open_visits", "Open visits", unit="locale", width=95),
                                Field("rss_bytes", "Memory", unit="bytes", width=90),
                                Field("retries", "Retries", width=75),
                            ],
                            says=f"Gone: no word for {GONE_S} seconds, because it ended or because ClickHouse was away",
                            empty=NO_WORKERS,
                        ),
                    ),
                    (
                        10,
                        lines(
                            "Memory, by worker",
                            [series(by_worker("max(rss_bytes)", "rss_bytes"))],
                            says="Resident memory",
                            unit="bytes",
                            empty=NO_WORKERS,
                            fields=[Field("rss_bytes", "${__field.labels.worker}")],
                        ),
                    ),
                ],
            ),
            (
                9,
                [
                    (
                        8,
                        lines(
                            "Dead letters, by topic",
                            [series(LETTERS)],
                            says="Records that could not be read",
                            as_bars=True,
                            stacked=True,
                            empty=NO_LETTERS,
                            fields=[Field("letters", "${__field.labels.topic}")],
                        ),
                    ),
                    (
                        16,
                        rows(
                            "Newest dead letters",
                            table(LETTER_LIST),
                            [
                                Field("at", "When", width=160),
                                Field("topic", "Topic", width=130),
                                Field("partition", "Partition", width=80),
                                Field("offset", "Offset", width=90),
                                Field("store_id", "Key", width=110),
                                Field("stage", "Stage", width=70),
                                Field("error", "Field at fault", width=130),
                                Field("message", "Why"),
                                Field("handled", "State", width=90),
                            ],
                            says="`aisleflow dead-letters show TOPIC OFFSET` shows the bytes, replay and drop settle them",
                            empty=NO_LETTERS,
                        ),
                    ),
                ],
            ),
        ],
        links=[
            to_dashboard("Wall", "aisleflow-wall", keep_shop=False),
            to_dashboard("Cameras and feeds", "aisleflow-cameras", keep_shop=False),
        ],
        since="now-3h",
        tags=["operations"],
    )
