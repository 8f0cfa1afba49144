-- How the system itself is, written by the workers: for `aisleflow status`, the wall's dashboards and alerts. Nothing is derived from it.

CREATE TABLE IF NOT EXISTS worker_health
(
    worker       LowCardinality(String) COMMENT 'The worker: its number on its machine, and the machine',
    at           DateTime64(3, 'UTC')   COMMENT 'When it wrote this row, some 10 s after the one before',
    records      UInt64                 COMMENT 'Kafka records it has read since its row before, as are all counts of the row',
    invalid      UInt64                 COMMENT 'Records that went to the dead letters',
    duplicates   UInt64                 COMMENT 'Records whose fact was stored already',
    rows_written UInt64                 COMMENT 'Rows written to the tables of facts and derived rows',
    cycles       UInt32                 COMMENT 'Cycles finished',
    cycle_p50_ms UInt32                 COMMENT 'Median time of those cycles, from the first record taken to all confirmed, milliseconds; 0 without cycles',
    cycle_max_ms UInt32                 COMMENT 'Longest of those cycles, milliseconds; 0 without cycles',
    retries      UInt32                 COMMENT 'Calls to ClickHouse tried again',
    open_visits  UInt64                 COMMENT 'Visits it holds in memory now',
    rss_bytes    UInt64                 COMMENT 'Memory it takes now, bytes; 0 where the system does not tell'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (worker, at)
TTL toDateTime(at) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What each worker did, a row every 10 seconds. A worker without a row for half a minute is gone, or ClickHouse was away.';

CREATE TABLE IF NOT EXISTS topic_lag
(
    topic       LowCardinality(String) COMMENT 'Kafka topic, with the prefix',
    partition   UInt16                 COMMENT 'Its partition',
    at          DateTime64(3, 'UTC')   COMMENT 'When it was so',
    worker      LowCardinality(String) COMMENT 'The worker that holds the partition, as in worker_health',
    lag_records UInt64                 COMMENT 'Records on the log that it has not confirmed',
    behind_ms   UInt64                 COMMENT 'Age of the oldest of them, milliseconds; 0 when none waits'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (topic, partition, at, worker)
TTL toDateTime(at) + INTERVAL 14 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How far behind each partition is, a row every 10 seconds from the worker that holds it. One that nobody holds has no new rows.';

CREATE TABLE IF NOT EXISTS dead_letters
(
    topic      LowCardinality(String)  COMMENT 'Kafka topic, with the prefix, of the record that was refused',
    partition  UInt16                  COMMENT 'Its partition',
    offset     UInt64                  COMMENT 'Its offset',
    at         DateTime64(3, 'UTC')    COMMENT 'When it was put in the dead letters',
    stage      LowCardinality(String)  COMMENT 'What could not be done with it: read',
    error      LowCardinality(String)  COMMENT 'The field at fault, or record when it is the whole record',
    message    String                  COMMENT 'Why it was refused, in words',
    store_id   String                  COMMENT 'Key of the record, which is the shop where its sender keyed it right, empty without one',
    handled    LowCardinality(String) DEFAULT '' COMMENT 'replayed or dropped, by `aisleflow dead-letters`; empty while it waits',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written, the newest holds'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (topic, partition, offset)
TTL toDateTime(at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Records that could not be read; their bytes are on Kafka, in TOPIC.dlq. Query with FINAL.';
