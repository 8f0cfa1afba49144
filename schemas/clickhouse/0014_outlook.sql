-- What was ordered of suppliers, and what is to be done about each article: how much to order, what to bring to the shelf, and how
-- likely it is to run out.

CREATE TABLE IF NOT EXISTS orders
(
    event_id    UUID                               COMMENT 'Identity of what is said here',
    store_id    String                             COMMENT 'The shop that ordered',
    order_id    String                             COMMENT 'The order; several rows say how it goes on, the newest holds',
    timestamp   DateTime64(3, 'UTC')               COMMENT 'When it was so',
    supplier_id String                             COMMENT 'Of whom it was ordered',
    status      LowCardinality(String)             COMMENT 'PLACED, CONFIRMED, SHIPPED, RECEIVED or CANCELLED',
    expected_at Nullable(DateTime64(3, 'UTC'))     COMMENT 'When it should arrive, null when not said',
    sku         Array(String)                      COMMENT 'The articles; none where only the status changes',
    quantity    Array(Decimal(18, 4))              COMMENT 'Units of each',
    unit_price  Array(Nullable(Decimal(18, 4)))    COMMENT 'Price of a unit of each, null when not said',
    received_at DateTime64(3, 'UTC')               COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
ORDER BY (store_id, order_id, timestamp, event_id)
TTL toDateTime(received_at) + INTERVAL 25 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Orders to suppliers, a row for each thing said of one. Query with FINAL.';

CREATE TABLE IF NOT EXISTS stock_outlook
(
    store_id       String                          COMMENT 'The shop',
    sku            String                          COMMENT 'The article',
    made_at        DateTime64(3, 'UTC')            COMMENT 'The moment that it was made for',
    shelf          Float64                         COMMENT 'On the shelf then',
    backroom       Float64                         COMMENT 'In the backroom then',
    in_transit     Float64                         COMMENT 'Sent here by other shops and not received then',
    on_order       Float64                         COMMENT 'Ordered of suppliers and not received then',
    fill_quantity  Float64                         COMMENT 'Units to bring from the back to the shelf, 0 for none',
    fill_reason    String                          COMMENT 'Why, in words',
    order_quantity Float64                         COMMENT 'Units to order that day, whole packs, 0 for none',
    packs          UInt32                          COMMENT 'The same in packs',
    pack           Float64                         COMMENT 'Units in a pack',
    order_reason   String                          COMMENT 'Why, in words; also why not, where stock is low',
    safety_stock   Float64                         COMMENT 'Units that guard against demand above the forecast and late deliveries',
    reorder_point  Float64                         COMMENT 'At or below so many units, on order included, it is ordered',
    order_up_to    Float64                         COMMENT 'Up to so many',
    demand_per_day Float64                         COMMENT 'Expected units a day until the order after the next one arrives, waste included',
    protected_days Float64                         COMMENT 'Days until then: lead time, and time to the next day on which orders are placed',
    service_level  Float64                         COMMENT 'Wanted probability that stock lasts so long',
    policy         LowCardinality(String)          COMMENT 'sS: at or below the reorder point order up to order_up_to; RS: order up to it at each review',
    supplier       LowCardinality(String)          COMMENT 'Of whom it is ordered, empty when not known',
    category       LowCardinality(String)          COMMENT 'By the terms of supply, empty when not known',
    expected_48h   Float64                         COMMENT 'Units expected to be asked for in 48 hours',
    lost_48h       Float64                         COMMENT 'Those of them that will not be there, on the mean',
    risk           Array(Float32)                  COMMENT 'Probability that nothing is left in the shop by the end of each of 48 hours from made_at on',
    runs_out_at    Nullable(DateTime64(3, 'UTC'))  COMMENT 'When that probability reaches a half, null if it does not',
    model          LowCardinality(String)          COMMENT 'What made the forecast',
    received_at    DateTime64(3, 'UTC')            COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree(made_at)
ORDER BY (store_id, sku)
TTL toDateTime(received_at) + INTERVAL 13 MONTH
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What to do about each article, and when it may run out, as last worked out. Query with FINAL.';

ALTER TABLE anomalies MODIFY COLUMN type COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN, STALE_FEED, FOOTFALL_DROP, FOOTFALL_SURGE, STOCKOUT_RISK or NEGATIVE_STOCK';
ALTER TABLE anomalies MODIFY COLUMN subject COMMENT 'The zone, camera or article concerned, empty for the whole store';

CREATE VIEW IF NOT EXISTS orders_final
(
    event_id    UUID                            COMMENT 'Identity of what is said here',
    store_id    String                          COMMENT 'The shop that ordered',
    order_id    String                          COMMENT 'The order; several rows say how it goes on, the newest holds',
    timestamp   DateTime64(3, 'UTC')            COMMENT 'When it was so',
    supplier_id String                          COMMENT 'Of whom it was ordered',
    status      String                          COMMENT 'PLACED, CONFIRMED, SHIPPED, RECEIVED or CANCELLED',
    expected_at Nullable(DateTime64(3, 'UTC'))  COMMENT 'When it should arrive, null when not said',
    sku         Array(String)                   COMMENT 'The articles; none where only the status changes',
    quantity    Array(Decimal(18, 4))           COMMENT 'Units of each',
    unit_price  Array(Nullable(Decimal(18, 4))) COMMENT 'Price of a unit of each, null when not said',
    received_at DateTime64(3, 'UTC')            COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, order_id, timestamp, supplier_id, status, expected_at, sku, quantity, unit_price, received_at
FROM orders FINAL
COMMENT 'Orders to suppliers, a row for each thing said of one.';

CREATE VIEW IF NOT EXISTS stock_outlook_final
(
    store_id       String                         COMMENT 'The shop',
    sku            String                         COMMENT 'The article',
    made_at        DateTime64(3, 'UTC')           COMMENT 'The moment that it was made for',
    shelf          Float64                        COMMENT 'On the shelf then',
    backroom       Float64                        COMMENT 'In the backroom then',
    in_transit     Float64                        COMMENT 'Sent here by other shops and not received then',
    on_order       Float64                        COMMENT 'Ordered of suppliers and not received then',
    fill_quantity  Float64                        COMMENT 'Units to bring from the back to the shelf, 0 for none',
    fill_reason    String                         COMMENT 'Why, in words',
    order_quantity Float64                        COMMENT 'Units to order that day, whole packs, 0 for none',
    packs          UInt32                         COMMENT 'The same in packs',
    pack           Float64                        COMMENT 'Units in a pack',
    order_reason   String                         COMMENT 'Why, in words; also why not, where stock is low',
    safety_stock   Float64                        COMMENT 'Units that guard against demand above the forecast and late deliveries',
    reorder_point  Float64                        COMMENT 'At or below so many units, on order included, it is ordered',
    order_up_to    Float64                        COMMENT 'Up to so many',
    demand_per_day Float64                        COMMENT 'Expected units a day until the order after the next one arrives, waste included',
    protected_days Float64                        COMMENT 'Days until then: lead time, and time to the next day on which orders are placed',
    service_level  Float64                        COMMENT 'Wanted probability that stock lasts so long',
    policy         String                         COMMENT 'sS: at or below the reorder point order up to order_up_to; RS: order up to it at each review',
    supplier       String                         COMMENT 'Of whom it is ordered, empty when not known',
    category       String                         COMMENT 'By the terms of supply, empty when not known',
    expected_48h   Float64                        COMMENT 'Units expected to be asked for in 48 hours',
    lost_48h       Float64                        COMMENT 'Those of them that will not be there, on the mean',
    risk           Array(Float32)                 COMMENT 'Probability that nothing is left in the shop by the end of each of 48 hours from made_at on',
    runs_out_at    Nullable(DateTime64(3, 'UTC')) COMMENT 'When that probability reaches a half, null if it does not',
    model          String                         COMMENT 'What made the forecast',
    received_at    DateTime64(3, 'UTC')           COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, made_at, shelf, backroom, in_transit, on_order, fill_quantity, fill_reason, order_quantity, packs, pack,
    order_reason, safety_stock, reorder_point, order_up_to, demand_per_day, protected_days, service_level, policy, supplier,
    category, expected_48h, lost_48h, risk, runs_out_at, model, received_at
FROM stock_outlook FINAL
COMMENT 'What to do about each article, and when it may run out, as last worked out.';
