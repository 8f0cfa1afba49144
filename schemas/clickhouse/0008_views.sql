-- What analysts ask, without FINAL and without knowing how rows are replaced. TABLE_final holds the newest version of each row of
-- TABLE; the views at the end have one row for each natural thing. A filter on store_id and business_day reaches the primary keys
-- of the tables. INVOKER: who may not read a table, or some of its rows, does not see them here either.

CREATE VIEW IF NOT EXISTS events_final
(
    event_id    UUID                 COMMENT 'Identity of the fact, the same id again is a duplicate',
    store_id    String               COMMENT 'The shop',
    camera_id   String               COMMENT 'The camera that saw it',
    visitor_id  String               COMMENT 'Pseudonym of the person within the store',
    event_type  String               COMMENT 'ENTRY, EXIT, REENTRY, ZONE_ENTER, ZONE_EXIT, ZONE_DWELL, BILLING_QUEUE_JOIN or BILLING_QUEUE_ABANDON',
    timestamp   DateTime64(3, 'UTC') COMMENT 'When it happened',
    zone_id     String               COMMENT 'The zone, empty when the event names none',
    dwell_ms    UInt32               COMMENT 'Time in the zone so far, milliseconds',
    is_staff    Bool                 COMMENT 'The camera takes the person for staff',
    confidence  Float32              COMMENT 'Detector confidence, 0 to 1',
    metadata    String               COMMENT 'What else the camera sent, as JSON: queue_depth, sku_zone, session_seq and more',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, camera_id, visitor_id, event_type, timestamp, zone_id, dwell_ms, is_staff, confidence, metadata, received_at
FROM events FINAL
COMMENT 'Visit events of all cameras, one row a fact. Filter on store_id and timestamp.';

CREATE VIEW IF NOT EXISTS transactions_final
(
    store_id           String                COMMENT 'The shop',
    transaction_id     String                COMMENT 'Identity of the receipt within its store',
    timestamp          DateTime64(3, 'UTC')  COMMENT 'When it was paid',
    basket_value       Decimal(18, 4)        COMMENT 'Total paid, in currency',
    currency           String                COMMENT 'ISO 4217, empty means the currency of the store layout',
    payment_kind       String                COMMENT 'cash, card, upi and so on, empty when unknown',
    `lines.sku`        Array(String)         COMMENT 'Receipt lines, empty arrays for a header without lines',
    `lines.gtin`       Array(String)         COMMENT 'Receipt lines, empty arrays for a header without lines',
    `lines.quantity`   Array(Decimal(18, 4)) COMMENT 'Receipt lines, empty arrays for a header without lines',
    `lines.unit_price` Array(Decimal(18, 4)) COMMENT 'Receipt lines, empty arrays for a header without lines',
    received_at        DateTime64(3, 'UTC')  COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT store_id, transaction_id, timestamp, basket_value, currency, payment_kind, `lines.sku`, `lines.gtin`, `lines.quantity`,
    `lines.unit_price`, received_at
FROM transactions FINAL
COMMENT 'Till receipts, one row a transaction; receipts has their business day.';

CREATE VIEW IF NOT EXISTS store_layouts_final
(
    store_id    String               COMMENT 'The shop',
    timestamp   DateTime64(3, 'UTC') COMMENT 'When the layout was made, the newest holds',
    name        String               COMMENT 'Name of the shop, empty when not given',
    time_zone   String               COMMENT 'IANA time zone that business days follow',
    currency    String               COMMENT 'ISO 4217, empty when not given',
    layout      String               COMMENT 'The whole layout as JSON: zones, cameras, opening hours',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT store_id, timestamp, name, time_zone, currency, layout, received_at
FROM store_layouts FINAL
COMMENT 'The layout that holds for each store.';

CREATE VIEW IF NOT EXISTS store_feed_final
(
    store_id             String               COMMENT 'The shop',
    last_event_timestamp DateTime64(3, 'UTC') COMMENT 'Time of its newest visit event or transaction',
    last_received_at     DateTime64(3, 'UTC') COMMENT 'When Kafka last took one'
)
SQL SECURITY INVOKER
AS SELECT store_id, last_event_timestamp, last_received_at
FROM store_feed FINAL
COMMENT 'How fresh each store is.';

CREATE VIEW IF NOT EXISTS camera_health_final
(
    store_id              String               COMMENT 'The shop',
    camera_id             String               COMMENT 'The camera',
    first_event_timestamp DateTime64(3, 'UTC') COMMENT 'Time of its oldest event',
    last_event_timestamp  DateTime64(3, 'UTC') COMMENT 'Time of its newest event',
    last_received_at      DateTime64(3, 'UTC') COMMENT 'When Kafka last took one',
    lowest_confidence     Float32              COMMENT 'Least detector confidence it ever sent'
)
SQL SECURITY INVOKER
AS SELECT store_id, camera_id, first_event_timestamp, last_event_timestamp, last_received_at, lowest_confidence
FROM camera_health FINAL
COMMENT 'When each camera was last heard.';

CREATE VIEW IF NOT EXISTS visits_final
(
    store_id                  String               COMMENT 'The shop',
    business_day              Date                 COMMENT 'Date in the time zone of the store',
    visitor_id                String               COMMENT 'Pseudonym of the person within the store',
    is_staff                  Bool                 COMMENT 'Some event of the visit says staff: left out of every figure',
    is_visitor                Bool                 COMMENT 'Counts as a visitor: seen at the entrance (ENTRY or REENTRY) and not staff',
    started_at                DateTime64(3, 'UTC') COMMENT 'First event',
    ended_at                  DateTime64(3, 'UTC') COMMENT 'Last event so far',
    entries                   UInt32               COMMENT 'ENTRY and REENTRY events',
    zone_visits               UInt32               COMMENT 'Zone visits in zone_visits',
    has_billing_presence      Bool                 COMMENT 'Was in a billing zone or its queue',
    joined_queue              Bool                 COMMENT 'Has a BILLING_QUEUE_JOIN',
    abandoned_queue           Bool                 COMMENT 'Joined, left after its last join, and did not purchase',
    purchased                 Bool                 COMMENT 'A billing presence overlaps the 5 minutes before a transaction',
    attributed_transaction_id String               COMMENT 'The transaction that claimed this visit, empty for none',
    events                    UInt32               COMMENT 'Events of the visit',
    layout_at                 DateTime64(3, 'UTC') COMMENT 'Timestamp of the store layout used, 1970 without one',
    rules                     UInt16               COMMENT 'Version of the rules that made the row, a day of another version is derived anew',
    updated_at                DateTime64(3, 'UTC') COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, business_day, visitor_id, is_staff, is_visitor, started_at, ended_at, entries, zone_visits, has_billing_presence,
    joined_queue, abandoned_queue, purchased, attributed_transaction_id, events, layout_at, rules, updated_at
FROM visits FINAL
COMMENT 'One visitor in one store on one business day.';

CREATE VIEW IF NOT EXISTS zone_visits_final
(
    store_id     String               COMMENT 'The shop',
    business_day Date                 COMMENT 'Date in the time zone of the store',
    visitor_id   String               COMMENT 'Pseudonym of the person within the store',
    ordinal      UInt32               COMMENT 'Position within the visit, from 0',
    zone_id      String               COMMENT 'The zone',
    camera_id    String               COMMENT 'The camera that saw it last',
    is_billing   Bool                 COMMENT 'The zone is a billing zone',
    is_staff     Bool                 COMMENT 'The visit is of staff: left out of every figure',
    started_at   DateTime64(3, 'UTC') COMMENT 'First event in the zone',
    ended_at     DateTime64(3, 'UTC') COMMENT 'Closing event, or last event so far',
    is_open      Bool                 COMMENT 'No event has closed it yet',
    dwell_ms     UInt32               COMMENT 'Larger of its span and the largest dwell_ms its events report, milliseconds',
    updated_at   DateTime64(3, 'UTC') COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, business_day, visitor_id, ordinal, zone_id, camera_id, is_billing, is_staff, started_at, ended_at, is_open, dwell_ms,
    updated_at
FROM zone_visits FINAL
COMMENT 'One stay in one zone within a visit.';

CREATE VIEW IF NOT EXISTS queue_depth_final
(
    store_id     String               COMMENT 'The shop',
    business_day Date                 COMMENT 'Date in the time zone of the store',
    timestamp    DateTime64(3, 'UTC') COMMENT 'When the depth became so',
    depth        UInt32               COMMENT 'People waiting from then on',
    updated_at   DateTime64(3, 'UTC') COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, business_day, timestamp, depth, updated_at
FROM queue_depth FINAL
COMMENT 'Depth of the billing queue of each store, a row a change.';

CREATE VIEW IF NOT EXISTS anomalies_final
(
    store_id         String                         COMMENT 'The shop',
    type             String                         COMMENT 'QUEUE_SPIKE, CONVERSION_DROP, DEAD_ZONE, ABANDONMENT_SPIKE, CAMERA_DOWN or STALE_FEED',
    subject          String                         COMMENT 'The zone or camera concerned, empty for the whole store',
    detected_at      DateTime64(3, 'UTC')           COMMENT 'Event time at which it opened',
    business_day     Date                           COMMENT 'Business day of the store at that time',
    severity         String                         COMMENT 'INFO, WARN or CRITICAL',
    message          String                         COMMENT 'What is so, in words',
    suggested_action String                         COMMENT 'What to do about it',
    value            Float64                        COMMENT 'The figure now',
    baseline         Float64                        COMMENT 'The figure it is judged against',
    closed_at        Nullable(DateTime64(3, 'UTC')) COMMENT 'Event time at which it was over, null while open',
    updated_at       DateTime64(3, 'UTC')           COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, type, subject, detected_at, business_day, severity, message, suggested_action, value, baseline, closed_at, updated_at
FROM anomalies FINAL
COMMENT 'What was out of the ordinary: opens once, is kept current, closes.';

CREATE VIEW IF NOT EXISTS camera_states_final
(
    event_id         UUID                           COMMENT 'Identity of the report',
    store_id         String                         COMMENT 'The shop',
    camera_id        String                         COMMENT 'The camera',
    timestamp        DateTime64(3, 'UTC')           COMMENT 'When it was so, a recording has its own time',
    kind             String                         COMMENT 'CHANGE (the state is new), REPORT (it still holds), DAY (last counts of a business day) or END (nobody watches it any more)',
    state            String                         COMMENT 'ONLINE, DEGRADED (fewer frames than wanted), FROZEN (the same picture again and again) or OFFLINE (no frames)',
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
SQL SECURITY INVOKER
AS SELECT event_id, store_id, camera_id, timestamp, kind, state, reason, since, last_frame_at, read_fps, processed_fps, skipped_fps,
    tracks_broken, entries, exits, entrance_balance, drift, received_at
FROM camera_states FINAL
COMMENT 'How well each camera was, on every change and every five minutes.';

CREATE VIEW IF NOT EXISTS camera_states_newest_final
(
    store_id         String                         COMMENT 'The shop',
    camera_id        String                         COMMENT 'The camera',
    timestamp        DateTime64(3, 'UTC')           COMMENT 'When it was so, the newest holds',
    kind             String                         COMMENT 'CHANGE, REPORT, DAY or END, as in camera_states',
    state            String                         COMMENT 'ONLINE, DEGRADED, FROZEN or OFFLINE',
    reason           String                         COMMENT 'Why it is not ONLINE, in words',
    since            Nullable(DateTime64(3, 'UTC')) COMMENT 'When the state began',
    entries          UInt32                         COMMENT 'ENTRY and REENTRY events on the business day',
    entrance_balance Int32                          COMMENT 'Entries minus exits on the business day',
    received_at      DateTime64(3, 'UTC')           COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT store_id, camera_id, timestamp, kind, state, reason, since, entries, entrance_balance, received_at
FROM camera_states_newest FINAL
COMMENT 'How well each camera is now.';

CREATE VIEW IF NOT EXISTS stock_movements_final
(
    event_id      UUID                 COMMENT 'Identity of the movement; a line of a receipt has one of its own',
    store_id      String               COMMENT 'The shop',
    sku           String               COMMENT 'The article',
    timestamp     DateTime64(3, 'UTC') COMMENT 'When it happened',
    kind          String               COMMENT 'RECEIVE, FILL_SHELF, SALE, RETURN, WASTE, TRANSFER or COUNT',
    quantity      Decimal(18, 4)       COMMENT 'Units or weight; what was found, for a COUNT',
    location      String               COMMENT 'SHELF or BACKROOM: where it was received, sold, wasted, counted or sent from',
    shelf         Decimal(18, 4)       COMMENT 'By how much it changes the shelf; 0 for a COUNT',
    backroom      Decimal(18, 4)       COMMENT 'By how much it changes the backroom; 0 for a COUNT',
    reference     String               COMMENT 'The order, transaction or transfer that it belongs to, empty when none',
    to_store_id   String               COMMENT 'Of a TRANSFER: where it goes, else empty',
    from_store_id String               COMMENT 'Of a TRANSFER announced to the receiving shop: where it comes from, else empty',
    actor         String               COMMENT 'Who or what moved it, empty when not said',
    reason        String               COMMENT 'Why, in words, empty when not said',
    source        String               COMMENT 'MOVEMENT, or TILL for a line of a receipt',
    received_at   DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, sku, timestamp, kind, quantity, location, shelf, backroom, reference, to_store_id, from_store_id, actor,
    reason, source, received_at
FROM stock_movements FINAL
COMMENT 'Every change of stock, kept for ever: a balance is the sum of all since the last count.';

CREATE VIEW IF NOT EXISTS stock_positions_final
(
    store_id       String                         COMMENT 'The shop',
    sku            String                         COMMENT 'The article',
    shelf          Decimal(18, 4)                 COMMENT 'On hand on the shelf; below 0 when something was not written down',
    backroom       Decimal(18, 4)                 COMMENT 'On hand in the backroom',
    in_transit     Decimal(18, 4)                 COMMENT 'Sent here by other shops and not received yet',
    shelf_known    Bool                           COMMENT 'The shelf was counted or received goods; else its balance is only what has moved',
    backroom_known Bool                           COMMENT 'The same of the backroom',
    on_the_way     Map(String, Decimal(18, 4))    COMMENT 'What in_transit is made of, by reference',
    counted_at     Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was last counted, on the shelf or in the back',
    moved_at       DateTime64(3, 'UTC')           COMMENT 'Time of its newest movement',
    newest_count   Bool                           COMMENT 'That movement is a COUNT',
    newest_event   String                         COMMENT 'event_id of that movement',
    updated_at     DateTime64(3, 'UTC')           COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, shelf, backroom, in_transit, shelf_known, backroom_known, on_the_way, counted_at, moved_at, newest_count,
    newest_event, updated_at
FROM stock_positions FINAL
COMMENT 'What is on hand now, one row a shop and article.';

CREATE VIEW IF NOT EXISTS stock_discrepancies_final
(
    store_id   String               COMMENT 'The shop',
    sku        String               COMMENT 'The article',
    location   String               COMMENT 'SHELF or BACKROOM',
    counted_at DateTime64(3, 'UTC') COMMENT 'When it was counted',
    event_id   UUID                 COMMENT 'The COUNT',
    expected   Decimal(18, 4)       COMMENT 'What the ledger held until then',
    counted    Decimal(18, 4)       COMMENT 'What was found',
    difference Decimal(18, 4)       COMMENT 'counted minus expected, 0 for an opening',
    is_opening Bool                 COMMENT 'The first count of this place, with nothing received there before: it differs from nothing',
    actor      String               COMMENT 'Who counted, empty when not said',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the row was written'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, location, counted_at, event_id, expected, counted, difference, is_opening, actor, updated_at
FROM stock_discrepancies FINAL
COMMENT 'What each count found beside what the ledger held.';

CREATE VIEW IF NOT EXISTS worker_health_final
(
    worker       String               COMMENT 'The worker: its number on its machine, and the machine',
    at           DateTime64(3, 'UTC') COMMENT 'When it wrote this row, some 10 s after the one before',
    records      UInt64               COMMENT 'Kafka records it has read since its row before, as are all counts of the row',
    invalid      UInt64               COMMENT 'Records that went to the dead letters',
    duplicates   UInt64               COMMENT 'Records whose fact was stored already',
    rows_written UInt64               COMMENT 'Rows written to the tables of facts and derived rows',
    cycles       UInt32               COMMENT 'Cycles finished',
    cycle_p50_ms UInt32               COMMENT 'Median time of those cycles, from the first record taken to all confirmed, milliseconds; 0 without cycles',
    cycle_max_ms UInt32               COMMENT 'Longest of those cycles, milliseconds; 0 without cycles',
    retries      UInt32               COMMENT 'Calls to ClickHouse tried again',
    open_visits  UInt64               COMMENT 'Visits it holds in memory now',
    rss_bytes    UInt64               COMMENT 'Memory it takes now, bytes; 0 where the system does not tell'
)
SQL SECURITY INVOKER
AS SELECT worker, at, records, invalid, duplicates, rows_written, cycles, cycle_p50_ms, cycle_max_ms, retries, open_visits, rss_bytes
FROM worker_health FINAL
COMMENT 'What each worker did, a row every 10 seconds. A worker without a row for half a minute is gone, or ClickHouse was away.';

CREATE VIEW IF NOT EXISTS topic_lag_final
(
    topic       String               COMMENT 'Kafka topic, with the prefix',
    partition   UInt16               COMMENT 'Its partition',
    at          DateTime64(3, 'UTC') COMMENT 'When it was so',
    worker      String               COMMENT 'The worker that holds the partition, as in worker_health',
    lag_records UInt64               COMMENT 'Records on the log that it has not confirmed',
    behind_ms   UInt64               COMMENT 'Age of the oldest of them, milliseconds; 0 when none waits'
)
SQL SECURITY INVOKER
AS SELECT topic, partition, at, worker, lag_records, behind_ms
FROM topic_lag FINAL
COMMENT 'How far behind each partition is, a row every 10 seconds from the worker that holds it. One that nobody holds has no new rows.';

CREATE VIEW IF NOT EXISTS dead_letters_final
(
    topic      String               COMMENT 'Kafka topic, with the prefix, of the record that was refused',
    partition  UInt16               COMMENT 'Its partition',
    offset     UInt64               COMMENT 'Its offset',
    at         DateTime64(3, 'UTC') COMMENT 'When it was put in the dead letters',
    stage      String               COMMENT 'What could not be done with it: read',
    error      String               COMMENT 'The field at fault, or record when it is the whole record',
    message    String               COMMENT 'Why it was refused, in words',
    store_id   String               COMMENT 'Key of the record, which is the shop where its sender keyed it right, empty without one',
    handled    String               COMMENT 'replayed or dropped, by `aisleflow dead-letters`; empty while it waits',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the row was written, the newest holds'
)
SQL SECURITY INVOKER
AS SELECT topic, partition, offset, at, stage, error, message, store_id, handled, updated_at
FROM dead_letters FINAL
COMMENT 'Records that could not be read; their bytes are on Kafka, in TOPIC.dlq.';
-- A receipt's business day is the date on its shop's clock. That lies at most a day beside the date in UTC: one branch for each, so
-- that a filter on business_day finds the months and granules of its timestamps.
CREATE VIEW IF NOT EXISTS receipts
(
    store_id       String               COMMENT 'The shop',
    business_day   Date                 COMMENT 'Date in the time zone of the store',
    transaction_id String               COMMENT 'Identity of the receipt within its store',
    timestamp      DateTime64(3, 'UTC') COMMENT 'When it was paid',
    local_hour     UInt8                COMMENT 'Hour of the day on the clock of the store, 0 to 23',
    basket_value   Decimal(18, 4)       COMMENT 'Total paid, in currency',
    currency       String               COMMENT 'ISO 4217: the receipt\'s, else the store\'s, else XXX',
    payment_kind   String               COMMENT 'cash, card, upi and so on, empty when unknown',
    receipt_lines  UInt32               COMMENT 'Lines of the receipt, 0 for a header without lines',
    units          Decimal(18, 4)       COMMENT 'Sum of the quantities of its lines'
)
SQL SECURITY INVOKER
AS WITH local AS
(
    SELECT
        store_id, transaction_id, timestamp, basket_value, payment_kind,
        toDate(timestamp) AS utc_day,
        toString(timestamp, if(layouts.time_zone = '', 'UTC', toString(layouts.time_zone))) AS clock,
        toDate(substring(clock, 1, 10)) AS day,
        toUInt8(substring(clock, 12, 2)) AS local_hour,
        multiIf(transactions.currency != '', toString(transactions.currency), layouts.currency != '', toString(layouts.currency), 'XXX') AS currency,
        length(lines.quantity) AS receipt_lines,
        arraySum(lines.quantity) AS units
    FROM (SELECT * FROM transactions FINAL) AS transactions
    LEFT JOIN (SELECT store_id, time_zone, currency FROM store_layouts FINAL) AS layouts USING (store_id)
)
SELECT store_id, utc_day - 1 AS business_day, transaction_id, timestamp, local_hour, basket_value, currency, payment_kind, receipt_lines, units
FROM local WHERE day = utc_day - 1
UNION ALL
SELECT store_id, utc_day AS business_day, transaction_id, timestamp, local_hour, basket_value, currency, payment_kind, receipt_lines, units
FROM local WHERE day = utc_day
UNION ALL
SELECT store_id, utc_day + 1 AS business_day, transaction_id, timestamp, local_hour, basket_value, currency, payment_kind, receipt_lines, units
FROM local WHERE day = utc_day + 1
COMMENT 'Till receipts with their business day and currency, one row a transaction.';

CREATE VIEW IF NOT EXISTS baskets
(
    store_id       String               COMMENT 'The shop',
    business_day   Date                 COMMENT 'Date in the time zone of the store',
    transaction_id String               COMMENT 'Identity of the receipt within its store',
    timestamp      DateTime64(3, 'UTC') COMMENT 'When it was paid',
    local_hour     UInt8                COMMENT 'Hour of the day on the clock of the store, 0 to 23',
    basket_value   Decimal(18, 4)       COMMENT 'Total paid, in currency',
    currency       String               COMMENT 'ISO 4217: the receipt\'s, else the store\'s, else XXX',
    payment_kind   String               COMMENT 'cash, card, upi and so on, empty when unknown',
    receipt_lines  UInt32               COMMENT 'Lines of the receipt, 0 for a header without lines',
    units          Decimal(18, 4)       COMMENT 'Sum of the quantities of its lines',
    visitor_id     String               COMMENT 'The visit that it claimed (attributed), empty for none',
    is_visitor     Bool                 COMMENT 'That visit counts as a visitor',
    joined_queue   Bool                 COMMENT 'That visit has a BILLING_QUEUE_JOIN',
    zone_visits    UInt32               COMMENT 'Zone visits of that visit',
    stay_ms        UInt64               COMMENT 'From the first to the last event of that visit, milliseconds'
)
SQL SECURITY INVOKER
AS SELECT
    receipts.store_id AS store_id, receipts.business_day AS business_day, receipts.transaction_id AS transaction_id, timestamp, local_hour,
    basket_value, currency, payment_kind, receipt_lines, units, visitor_id, is_visitor, joined_queue, zone_visits, stay_ms
FROM receipts
LEFT JOIN
(
    SELECT store_id, business_day, attributed_transaction_id AS transaction_id, visitor_id, is_visitor, joined_queue, zone_visits,
           toUInt64(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) AS stay_ms
    FROM visits FINAL
    WHERE attributed_transaction_id != ''
) AS claimed USING (store_id, business_day, transaction_id)
COMMENT 'Till receipts with the visit that each one claimed, one row a transaction.';

CREATE VIEW IF NOT EXISTS visitors
(
    store_id                  String               COMMENT 'The shop',
    business_day              Date                 COMMENT 'Date in the time zone of the store',
    visitor_id                String               COMMENT 'Pseudonym of the person within the store',
    started_at                DateTime64(3, 'UTC') COMMENT 'First event',
    ended_at                  DateTime64(3, 'UTC') COMMENT 'Last event so far',
    local_hour                UInt8                COMMENT 'Hour of the day of the first event on the clock of the store, 0 to 23',
    stay_ms                   UInt64               COMMENT 'From the first to the last event, milliseconds',
    entries                   UInt32               COMMENT 'ENTRY and REENTRY events: above 1 they came back',
    zone_visits               UInt32               COMMENT 'Stays in zones, of which zone_visits_final tells',
    has_billing_presence      Bool                 COMMENT 'Was in a billing zone or its queue',
    joined_queue              Bool                 COMMENT 'Has a BILLING_QUEUE_JOIN',
    abandoned_queue           Bool                 COMMENT 'Joined, left after its last join, and did not purchase',
    purchased                 Bool                 COMMENT 'A billing presence overlaps the 5 minutes before a transaction',
    attributed_transaction_id String               COMMENT 'The transaction that claimed this visit, empty for none'
)
SQL SECURITY INVOKER
AS SELECT
    store_id, business_day, visitor_id, started_at, ended_at,
    toUInt8(substring(toString(started_at, if(layouts.time_zone = '', 'UTC', toString(layouts.time_zone))), 12, 2)) AS local_hour,
    toUInt64(toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) AS stay_ms,
    entries, zone_visits, has_billing_presence, joined_queue, abandoned_queue, purchased, attributed_transaction_id
FROM (SELECT * FROM visits FINAL WHERE is_visitor) AS visits
LEFT JOIN (SELECT store_id, time_zone FROM store_layouts FINAL) AS layouts USING (store_id)
COMMENT 'Visitors: who came in at the entrance and is not staff, one row a person, shop and business day.';

CREATE VIEW IF NOT EXISTS queue_waits
(
    store_id     String               COMMENT 'The shop',
    business_day Date                 COMMENT 'Date in the time zone of the store',
    visitor_id   String               COMMENT 'Pseudonym of the person within the store',
    ordinal      UInt32               COMMENT 'Position of the stay within the visit, from 0',
    zone_id      String               COMMENT 'The billing zone',
    started_at   DateTime64(3, 'UTC') COMMENT 'When they came to the till',
    ended_at     DateTime64(3, 'UTC') COMMENT 'When they left it, or were last seen there',
    is_open      Bool                 COMMENT 'No event has closed the stay yet',
    wait_ms      UInt32               COMMENT 'Time at the till, queueing and being served, milliseconds',
    joined_queue Bool                 COMMENT 'The visit has a BILLING_QUEUE_JOIN: somebody was waiting already',
    outcome      String               COMMENT 'Of the visit: paid (a receipt claimed it), gave up (abandoned the queue) or left'
)
SQL SECURITY INVOKER
AS SELECT
    store_id, business_day, visitor_id, ordinal, zone_id, started_at, ended_at, is_open, dwell_ms AS wait_ms, joined_queue,
    multiIf(attributed_transaction_id != '', 'paid', abandoned_queue, 'gave up', 'left') AS outcome
FROM (SELECT * FROM zone_visits FINAL WHERE is_billing AND NOT is_staff) AS stays
INNER JOIN
(
    SELECT store_id, business_day, visitor_id, joined_queue, abandoned_queue, attributed_transaction_id
    FROM visits FINAL
    WHERE has_billing_presence AND NOT is_staff
) AS visits USING (store_id, business_day, visitor_id)
COMMENT 'Stays at the tills of everybody but staff, one row a stay.';

CREATE VIEW IF NOT EXISTS store_days
(
    store_id                   String         COMMENT 'The shop',
    business_day               Date           COMMENT 'Date in the time zone of the store',
    unique_visitors            UInt64         COMMENT 'Visits that count: seen at the entrance and not staff',
    zone_visitors              UInt64         COMMENT 'Of them, those with a zone visit or a billing presence',
    billing_visitors           UInt64         COMMENT 'Of them, those with a billing presence',
    purchasers                 UInt64         COMMENT 'Of them, those who purchased',
    attributed_visitors        UInt64         COMMENT 'Of them, those whom a receipt claimed',
    conversion_rate            Float64        COMMENT 'purchasers / unique_visitors, 0 without visitors',
    attributed_conversion_rate Float64        COMMENT 'attributed_visitors / unique_visitors, 0 without visitors',
    joined                     UInt64         COMMENT 'Non-staff visits that joined the queue',
    abandoned                  UInt64         COMMENT 'Of them, those who gave up',
    abandonment_rate           Float64        COMMENT 'abandoned / joined, 0 without joins',
    stays                      UInt64         COMMENT 'Zone visits of non-staff visits',
    avg_dwell_ms               Float64        COMMENT 'Mean dwell of these, milliseconds, 0 without any',
    staff_visits               UInt64         COMMENT 'Visits of staff',
    unmatched_visitors         UInt64         COMMENT 'Non-staff visits that were not seen at the entrance',
    transactions               UInt64         COMMENT 'Receipts, in any currency',
    revenue                    Decimal(38, 4) COMMENT 'Sum of the receipts that are in currency',
    currency                   String         COMMENT 'ISO 4217: that of the store layout, else that of most receipts, empty where neither names one',
    revenue_by_currency        Map(String, Decimal(38, 4)) COMMENT 'Sum of the receipts by ISO 4217 code, XXX where none is known'
)
SQL SECURITY INVOKER
AS WITH figures AS
(
    SELECT
        store_id, business_day,
        countIf(is_visitor) AS unique_visitors,
        countIf(is_visitor AND (zone_visits > 0 OR has_billing_presence)) AS zone_visitors,
        countIf(is_visitor AND has_billing_presence) AS billing_visitors,
        countIf(is_visitor AND purchased) AS purchasers,
        countIf(is_visitor AND attributed_transaction_id != '') AS attributed_visitors,
        countIf(NOT is_staff AND joined_queue) AS joined,
        countIf(NOT is_staff AND abandoned_queue) AS abandoned,
        countIf(is_staff) AS staff_visits,
        countIf(NOT is_staff AND NOT is_visitor) AS unmatched_visitors,
        toUInt64(0) AS stays, toUInt64(0) AS dwell_ms,
        CAST(map(), 'Map(String, UInt64)') AS receipts_by_currency, CAST(map(), 'Map(String, Decimal(38, 4))') AS revenue_by_currency
    FROM visits FINAL
    GROUP BY store_id, business_day
    UNION ALL
    SELECT store_id, business_day, 0, 0, 0, 0, 0, 0, 0, 0, 0, count(), sum(dwell_ms), map(), map()
    FROM zone_visits FINAL
    WHERE NOT is_staff
    GROUP BY store_id, business_day
    UNION ALL
    SELECT store_id, business_day, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           sumMap(map(currency, toUInt64(1))), sumMap(map(currency, CAST(basket_value, 'Decimal(38, 4)')))
    FROM receipts
    GROUP BY store_id, business_day
),
days AS
(
    SELECT
        store_id, business_day,
        sum(unique_visitors) AS unique_visitors, sum(zone_visitors) AS zone_visitors, sum(billing_visitors) AS billing_visitors,
        sum(purchasers) AS purchasers, sum(attributed_visitors) AS attributed_visitors, sum(joined) AS joined, sum(abandoned) AS abandoned,
        sum(staff_visits) AS staff_visits, sum(unmatched_visitors) AS unmatched_visitors, sum(stays) AS stays, sum(dwell_ms) AS dwell_ms,
        sumMap(receipts_by_currency) AS receipts_by_currency, sumMap(revenue_by_currency) AS revenue_by_currency
    FROM figures
    GROUP BY store_id, business_day
)
SELECT
    store_id, business_day, unique_visitors, zone_visitors, billing_visitors, purchasers, attributed_visitors,
    if(unique_visitors = 0, 0, purchasers / unique_visitors) AS conversion_rate,
    if(unique_visitors = 0, 0, attributed_visitors / unique_visitors) AS attributed_conversion_rate,
    joined, abandoned, if(joined = 0, 0, abandoned / joined) AS abandonment_rate,
    stays, if(stays = 0, 0, dwell_ms / stays) AS avg_dwell_ms,
    staff_visits, unmatched_visitors,
    arraySum(mapValues(receipts_by_currency)) AS transactions,
    revenue_by_currency[main] AS revenue,
    if(main = 'XXX', '', main) AS currency,
    revenue_by_currency
FROM
(
    SELECT
        days.*,
        arraySort(pair -> (-toInt64(pair.2), pair.1), arrayZip(mapKeys(receipts_by_currency), mapValues(receipts_by_currency)))[1].1 AS most,
        multiIf(layouts.currency != '', toString(layouts.currency), most) AS main
    FROM days
    LEFT JOIN (SELECT store_id, currency FROM store_layouts FINAL) AS layouts USING (store_id)
)
COMMENT 'The figures of docs/metrics.md, one row a shop and business day.';
