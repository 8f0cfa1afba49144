-- What cameras say of themselves. (camera_health is what follows from their visit events: when each was last heard.)

CREATE TABLE IF NOT EXISTS camera_states
(
    event_id         UUID                           COMMENT 'Identity of the report',
    store_id         String                         COMMENT 'The shop',
    camera_id        LowCardinality(String)         COMMENT 'The camera',
    timestamp        DateTime64(3, 'UTC')           COMMENT 'When it was so, a recording has its own time',
    kind             LowCardinality(String)         COMMENT 'CHANGE (the state is new), REPORT (it still holds), DAY (last counts of a business day) or END (nobody watches it any more)',
    state            LowCardinality(String)         COMMENT 'ONLINE, DEGRADED (fewer frames than wanted), FROZEN (the same picture again and again) or OFFLINE (no frames)',
    reason           String                         COMMENT 'Why it is not ONLINE, in words',
    since            Nullable(DateTime64(3, 'UTC')) COMMENT 'When the state began',
    last_frame_at    Nullable(DateTime64(3, 'UTC')) COMMENT 'When it last sent a picture unlike those before',
    read_fps         Float32                        COMMENT 'Frames a second that it sent',
    processed_fps    Float32                        COMMENT 'Frames a second in which people were looked for',
    skipped_fps      Float32                        COMMENT 'Frames a second that were not looked at',
    tracks_broken    UInt32                         COMMENT 'People lost from sight in the middle of the picture on the business day',
    entries          UInt32                         COMMENT 'ENTRY and REENTRY events on the business day',
    exits            UInt32                         COMMENT 'EXIT events on the business day',
    entrance_balance Int32                          COMMENT 'Entries minus exits, 0 once the shop has closed if all were seen',
    drift            Nullable(Float64)              COMMENT 'The balance as a share of the entries, null without entries',
    received_at      DateTime64(3, 'UTC')           COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (store_id, camera_id, timestamp, event_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How well each camera was, on every change and every five minutes. Query with FINAL.';

CREATE TABLE IF NOT EXISTS camera_states_newest
(
    store_id         String                         COMMENT 'The shop',
    camera_id        LowCardinality(String)         COMMENT 'The camera',
    timestamp        DateTime64(3, 'UTC')           COMMENT 'When it was so, the newest holds',
    kind             LowCardinality(String)         COMMENT 'CHANGE, REPORT, DAY or END, as in camera_states',
    state            LowCardinality(String)         COMMENT 'ONLINE, DEGRADED, FROZEN or OFFLINE',
    reason           String                         COMMENT 'Why it is not ONLINE, in words',
    since            Nullable(DateTime64(3, 'UTC')) COMMENT 'When the state began',
    entries          UInt32                         COMMENT 'ENTRY and REENTRY events on the business day',
    entrance_balance Int32                          COMMENT 'Entries minus exits on the business day',
    received_at      DateTime64(3, 'UTC')           COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree(timestamp)
ORDER BY (store_id, camera_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How well each camera is now. Query with FINAL.';

CREATE MATERIALIZED VIEW IF NOT EXISTS camera_states_newest_from_states TO camera_states_newest AS
SELECT store_id, camera_id, timestamp, kind, state, reason, since, entries, entrance_balance, received_at FROM camera_states;
