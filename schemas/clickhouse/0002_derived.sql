-- Derived by the workers from the facts. The version is the number of facts of the store's business day that the worker knew: a
-- row made from more facts replaces one made from fewer, whoever writes last.

CREATE TABLE IF NOT EXISTS visits
(
    store_id                  String                         COMMENT 'The shop',
    business_day              Date                           COMMENT 'Date in the time zone of the store',
    visitor_id                String                         COMMENT 'Pseudonym of the person within the store',
    is_staff                  Bool                           COMMENT 'Some event of the visit says staff: left out of every figure',
    is_visitor                Bool                           COMMENT 'Counts as a visitor: seen at the entrance (ENTRY or REENTRY) and not staff',
    started_at                DateTime64(3, 'UTC')           COMMENT 'First event',
    ended_at                  DateTime64(3, 'UTC')           COMMENT 'Last event so far',
    entries                   UInt32                         COMMENT 'ENTRY and REENTRY events',
    zone_visits               UInt32                         COMMENT 'Zone visits in zone_visits',
    has_billing_presence      Bool                           COMMENT 'Was in a billing zone or its queue',
    joined_queue              Bool                           COMMENT 'Has a BILLING_QUEUE_JOIN',
    abandoned_queue           Bool                           COMMENT 'Joined, left after its last join, and did not purchase',
    purchased                 Bool                           COMMENT 'A billing presence overlaps the 5 minutes before a transaction',
    attributed_transaction_id String                         COMMENT 'The transaction that claimed this visit, empty for none',
    events                    UInt32                         COMMENT 'Events of the visit',
    layout_at                 DateTime64(3, 'UTC')           COMMENT 'Timestamp of the store layout used, 1970 without one',
    version                   UInt64                         COMMENT 'Facts known when the row was made, the highest holds',
    is_deleted                UInt8 DEFAULT 0                COMMENT '1: the visit no longer exists under this key',
    updated_at                DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(business_day)
ORDER BY (store_id, business_day, visitor_id)
TTL toDateTime(updated_at) + INTERVAL 25 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'One visitor in one store on one business day. Query with FINAL.';

CREATE TABLE IF NOT EXISTS zone_visits
(
    store_id     String                 COMMENT 'The shop',
    business_day Date                   COMMENT 'Date in the time zone of the store',
    visitor_id   String                 COMMENT 'Pseudonym of the person within the store',
    ordinal      UInt32                 COMMENT 'Position within the visit, from 0',
    zone_id      LowCardinality(String) COMMENT 'The zone',
    camera_id    LowCardinality(String) COMMENT 'The camera that saw it last',
    is_billing   Bool                   COMMENT 'The zone is a billing zone',
    is_staff     Bool                   COMMENT 'The visit is of staff: left out of every figure',
    started_at   DateTime64(3, 'UTC')   COMMENT 'First event in the zone',
    ended_at     DateTime64(3, 'UTC')   COMMENT 'Closing event, or last event so far',
    is_open      Bool                   COMMENT 'No event has closed it yet',
    dwell_ms     UInt32                 COMMENT 'Larger of its span and the largest dwell_ms its events report, milliseconds',
    version      UInt64                 COMMENT 'Facts known when the row was made, the highest holds',
    is_deleted   UInt8 DEFAULT 0        COMMENT '1: the zone visit no longer exists under this key',
    updated_at   DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(business_day)
ORDER BY (store_id, business_day, visitor_id, ordinal)
TTL toDateTime(updated_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'One stay in one zone within a visit. Query with FINAL.';

CREATE TABLE IF NOT EXISTS queue_depth
(
    store_id     String              COMMENT 'The shop',
    business_day Date                COMMENT 'Date in the time zone of the store',
    timestamp    DateTime64(3, 'UTC') COMMENT 'When the depth became so',
    depth        UInt32              COMMENT 'People waiting from then on',
    version      UInt64              COMMENT 'Facts known when the row was made, the highest holds',
    is_deleted   UInt8 DEFAULT 0     COMMENT '1: nothing changed at this time after all',
    updated_at   DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(business_day)
ORDER BY (store_id, business_day, timestamp)
TTL toDateTime(updated_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Depth of the billing queue of each store, a row a change. Query with FINAL.';

CREATE TABLE IF NOT EXISTS anomalies
(
    store_id         String                         COMMENT 'The shop',
    type             LowCardinality(String)         COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN or STALE_FEED',
    subject          String                         COMMENT 'The zone or camera concerned, empty for the whole store',
    detected_at      DateTime64(3, 'UTC')           COMMENT 'Event time at which it opened',
    business_day     Date                           COMMENT 'Business day of the store at that time',
    severity         LowCardinality(String)         COMMENT 'INFO, WARN or CRITICAL',
    message          String                         COMMENT 'What is so, in words',
    suggested_action String                         COMMENT 'What to do about it',
    value            Float64                        COMMENT 'The figure now',
    baseline         Float64                        COMMENT 'The figure it is judged against',
    closed_at        Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time at which it was over, null while open',
    version          UInt64                         COMMENT 'The highest holds',
    updated_at       DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(detected_at)
ORDER BY (store_id, type, subject, detected_at)
TTL toDateTime(updated_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What was out of the ordinary: opens once, is kept current, closes. Query with FINAL.';
