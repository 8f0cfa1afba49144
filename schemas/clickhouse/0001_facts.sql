-- Facts, as the log held them. Every table replaces rows of the same key and sets a deduplication window, so that an insert
-- tried again, or a topic replayed, changes nothing. Retention counts from arrival: an old day published late is kept as long.

CREATE TABLE IF NOT EXISTS events
(
    event_id    UUID                    COMMENT 'Identity of the fact, the same id again is a duplicate',
    store_id    String                  COMMENT 'The shop',
    camera_id   LowCardinality(String)  COMMENT 'The camera that saw it',
    visitor_id  String                  COMMENT 'Pseudonym of the person within the store',
    event_type  LowCardinality(String)  COMMENT 'ENTRY, EXIT, REENTRY, ZONE_ENTER, ZONE_EXIT, ZONE_DWELL, BILLING_QUEUE_JOIN or BILLING_QUEUE_ABANDON',
    timestamp   DateTime64(3, 'UTC')    COMMENT 'When it happened',
    zone_id     LowCardinality(String)  COMMENT 'The zone, empty when the event names none',
    dwell_ms    UInt32                  COMMENT 'Time in the zone so far, milliseconds',
    is_staff    Bool                    COMMENT 'The camera takes the person for staff',
    confidence  Float32                 COMMENT 'Detector confidence, 0 to 1',
    metadata    String                  COMMENT 'What else the camera sent, as JSON: queue_depth, sku_zone, session_seq and more' CODEC(ZSTD(1)),
    received_at DateTime64(3, 'UTC')    COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (store_id, toDate(timestamp), visitor_id, timestamp, event_id)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Visit events of all cameras, one row a fact. Query with FINAL.';

-- Fine granules: looking up one id reads 128 rows instead of 8,192. The workers fill it after events, never by a view: an id must not be
-- known before its event is stored.
CREATE TABLE IF NOT EXISTS event_ids
(
    event_id    UUID                 COMMENT 'Identity of a stored visit event',
    store_id    String               COMMENT 'Store of that event',
    visitor_id  String               COMMENT 'Visitor of that event',
    timestamp   DateTime64(3, 'UTC') COMMENT 'Time of that event',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
ORDER BY event_id
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 128
COMMENT 'Which event ids are stored, to tell duplicates: the same id is one fact whatever else it carries.';

CREATE TABLE IF NOT EXISTS transactions
(
    store_id       String                 COMMENT 'The shop',
    transaction_id String                 COMMENT 'Identity of the receipt within its store',
    timestamp      DateTime64(3, 'UTC')   COMMENT 'When it was paid',
    basket_value   Decimal(18, 4)         COMMENT 'Total paid, in currency',
    currency       LowCardinality(String) COMMENT 'ISO 4217, empty means the currency of the store layout',
    payment_kind   LowCardinality(String) COMMENT 'cash, card, upi and so on, empty when unknown',
    lines Nested
    (
        sku        String,
        gtin       String,
        quantity   Decimal(18, 4),
        unit_price Decimal(18, 4)
    ) COMMENT 'Receipt lines, empty arrays for a header without lines',
    received_at    DateTime64(3, 'UTC')   COMMENT 'When Kafka took it',
    INDEX by_time timestamp TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (store_id, transaction_id)
TTL toDateTime(received_at) + INTERVAL 25 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Till receipts, one row a transaction. Query with FINAL.';

CREATE TABLE IF NOT EXISTS store_layouts
(
    store_id    String                 COMMENT 'The shop',
    timestamp   DateTime64(3, 'UTC')   COMMENT 'When the layout was made, the newest holds',
    name        String                 COMMENT 'Name of the shop, empty when not given',
    time_zone   LowCardinality(String) COMMENT 'IANA time zone that business days follow',
    currency    LowCardinality(String) COMMENT 'ISO 4217, empty when not given',
    layout      String                 COMMENT 'The whole layout as JSON: zones, cameras, opening hours' CODEC(ZSTD(1)),
    received_at DateTime64(3, 'UTC')   COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree(timestamp)
ORDER BY store_id
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The layout that holds for each store. Query with FINAL.';

CREATE TABLE IF NOT EXISTS store_feed
(
    store_id               String                                                 COMMENT 'The shop',
    last_event_timestamp   SimpleAggregateFunction(max, DateTime64(3, 'UTC'))     COMMENT 'Time of its newest visit event or transaction',
    last_received_at       SimpleAggregateFunction(max, DateTime64(3, 'UTC'))     COMMENT 'When Kafka last took one'
)
ENGINE = AggregatingMergeTree
ORDER BY store_id
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'How fresh each store is. Query with max() and GROUP BY store_id.';

CREATE MATERIALIZED VIEW IF NOT EXISTS store_feed_from_events TO store_feed AS
SELECT store_id, max(timestamp) AS last_event_timestamp, max(received_at) AS last_received_at FROM events GROUP BY store_id;

CREATE MATERIALIZED VIEW IF NOT EXISTS store_feed_from_transactions TO store_feed AS
SELECT store_id, max(timestamp) AS last_event_timestamp, max(received_at) AS last_received_at FROM transactions GROUP BY store_id;

CREATE TABLE IF NOT EXISTS camera_health
(
    store_id             String                                             COMMENT 'The shop',
    camera_id            String                                             COMMENT 'The camera',
    first_event_timestamp SimpleAggregateFunction(min, DateTime64(3, 'UTC')) COMMENT 'Time of its oldest event',
    last_event_timestamp SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'Time of its newest event',
    last_received_at     SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'When Kafka last took one',
    lowest_confidence    SimpleAggregateFunction(min, Float32)              COMMENT 'Least detector confidence it ever sent'
)
ENGINE = AggregatingMergeTree
ORDER BY (store_id, camera_id)
TTL toDateTime(last_received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'When each camera was last heard. Query with max(), min() and GROUP BY store_id, camera_id.';

CREATE MATERIALIZED VIEW IF NOT EXISTS camera_health_from_events TO camera_health AS
SELECT store_id, camera_id, min(timestamp) AS first_event_timestamp, max(timestamp) AS last_event_timestamp,
       max(received_at) AS last_received_at, min(confidence) AS lowest_confidence
FROM events GROUP BY store_id, camera_id;
