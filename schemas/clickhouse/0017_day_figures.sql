-- What a shop's day adds up to, written by the workers with the rows that it follows from: an answer reads one row where it counted
-- visits, zone visits, queue and receipts before. A day without a row (older than this table, or with facts that have expired) is
-- counted from those.

CREATE TABLE IF NOT EXISTS day_figures
(
    store_id            String               COMMENT 'The shop',
    business_day        Date                 COMMENT 'Date in the time zone of the store',
    unique_visitors     UInt32               COMMENT 'Visits that began with the entrance camera, staff left out',
    unmatched_visitors  UInt32               COMMENT 'Visits seen inside but not by the entrance camera, staff left out',
    staff_visits        UInt32               COMMENT 'Visits of staff, in no other figure',
    zone_visitors       UInt32               COMMENT 'Of unique_visitors: those who stopped in a zone or where people pay',
    billing_visitors    UInt32               COMMENT 'Of unique_visitors: those who were where people pay',
    purchasers          UInt32               COMMENT 'Of unique_visitors: those with a transaction within five minutes of being there',
    attributed_visitors UInt32               COMMENT 'Of unique_visitors: those that a transaction claims',
    joined_queue        UInt32               COMMENT 'Visits that joined the billing queue, staff left out',
    abandoned_queue     UInt32               COMMENT 'Of joined_queue: those that left it and did not purchase',
    zones Nested
    (
        zone_id   String,
        frequency UInt32,
        dwell_ms  UInt64
    ) COMMENT 'By zone: zone visits and their dwell added up, milliseconds, staff left out',
    receipts Nested
    (
        currency     String,
        transactions UInt32,
        revenue      Decimal(38, 4)
    ) COMMENT 'By currency, empty for that of the store layout: till receipts and what they add up to',
    queue_depth         UInt32               COMMENT 'People waiting to pay after the last change of the day',
    version             UInt64               COMMENT 'Facts known when the row was made, the highest holds',
    is_deleted          UInt8 DEFAULT 0      COMMENT '1: facts of the day have expired, count its visits instead',
    updated_at          DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(business_day)
ORDER BY (store_id, business_day)
TTL toDateTime(updated_at) + INTERVAL 25 MONTH
-- A shop's day is one row, read alone.
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 256
COMMENT 'The figures of each store and business day. Query with FINAL.';

CREATE VIEW IF NOT EXISTS day_figures_final
(
    store_id                String                COMMENT 'The shop',
    business_day            Date                  COMMENT 'Date in the time zone of the store',
    unique_visitors         UInt32                COMMENT 'Visits that began with the entrance camera, staff left out',
    unmatched_visitors      UInt32                COMMENT 'Visits seen inside but not by the entrance camera, staff left out',
    staff_visits            UInt32                COMMENT 'Visits of staff, in no other figure',
    zone_visitors           UInt32                COMMENT 'Of unique_visitors: those who stopped in a zone or where people pay',
    billing_visitors        UInt32                COMMENT 'Of unique_visitors: those who were where people pay',
    purchasers              UInt32                COMMENT 'Of unique_visitors: those with a transaction within five minutes of being there',
    attributed_visitors     UInt32                COMMENT 'Of unique_visitors: those that a transaction claims',
    joined_queue            UInt32                COMMENT 'Visits that joined the billing queue, staff left out',
    abandoned_queue         UInt32                COMMENT 'Of joined_queue: those that left it and did not purchase',
    `zones.zone_id`         Array(String)         COMMENT 'By zone: zone visits and their dwell added up, milliseconds, staff left out',
    `zones.frequency`       Array(UInt32)         COMMENT 'By zone: zone visits and their dwell added up, milliseconds, staff left out',
    `zones.dwell_ms`        Array(UInt64)         COMMENT 'By zone: zone visits and their dwell added up, milliseconds, staff left out',
    `receipts.currency`     Array(String)         COMMENT 'By currency, empty for that of the store layout: till receipts and what they add up to',
    `receipts.transactions` Array(UInt32)         COMMENT 'By currency, empty for that of the store layout: till receipts and what they add up to',
    `receipts.revenue`      Array(Decimal(38, 4)) COMMENT 'By currency, empty for that of the store layout: till receipts and what they add up to',
    queue_depth             UInt32                COMMENT 'People waiting to pay after the last change of the day',
    updated_at              DateTime64(3, 'UTC')  COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, business_day, unique_visitors, unmatched_visitors, staff_visits, zone_visitors, billing_visitors, purchasers,
    attributed_visitors, joined_queue, abandoned_queue, `zones.zone_id`, `zones.frequency`, `zones.dwell_ms`, `receipts.currency`,
    `receipts.transactions`, `receipts.revenue`, queue_depth, updated_at
FROM day_figures FINAL
COMMENT 'The figures of each store and business day.';
