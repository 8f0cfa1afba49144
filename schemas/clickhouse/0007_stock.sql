-- Stock: the movements as facts, and what follows from them. Balances are never added up in place: a position's row is
-- replaced by one that knows of more movements, and any balance at any time can be summed from the movements alone.

CREATE TABLE IF NOT EXISTS stock_movements
(
    event_id      UUID                    COMMENT 'Identity of the movement; a line of a receipt has one of its own',
    store_id      String                  COMMENT 'The shop',
    sku           String                  COMMENT 'The article',
    timestamp     DateTime64(3, 'UTC')    COMMENT 'When it happened',
    kind          LowCardinality(String)  COMMENT 'RECEIVE, FILL_SHELF, SALE, RETURN, WASTE, TRANSFER or COUNT',
    quantity      Decimal(18, 4)          COMMENT 'Units or weight; what was found, for a COUNT',
    location      LowCardinality(String)  COMMENT 'SHELF or BACKROOM: where it was received, sold, wasted, counted or sent from',
    shelf         Decimal(18, 4)          COMMENT 'By how much it changes the shelf; 0 for a COUNT',
    backroom      Decimal(18, 4)          COMMENT 'By how much it changes the backroom; 0 for a COUNT',
    reference     String                  COMMENT 'The order, transaction or transfer that it belongs to, empty when none',
    to_store_id   LowCardinality(String)  COMMENT 'Of a TRANSFER: where it goes, else empty',
    from_store_id LowCardinality(String)  COMMENT 'Of a TRANSFER announced to the receiving shop: where it comes from, else empty',
    actor         String                  COMMENT 'Who or what moved it, empty when not said',
    reason        String                  COMMENT 'Why, in words, empty when not said',
    source        LowCardinality(String)  COMMENT 'MOVEMENT, or TILL for a line of a receipt',
    received_at   DateTime64(3, 'UTC')    COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree
ORDER BY (store_id, sku, timestamp, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every change of stock, kept for ever: a balance is the sum of all since the last count. Query with FINAL.';

CREATE TABLE IF NOT EXISTS stock_positions
(
    store_id       String                          COMMENT 'The shop',
    sku            String                          COMMENT 'The article',
    shelf          Decimal(18, 4)                  COMMENT 'On hand on the shelf; below 0 when something was not written down',
    backroom       Decimal(18, 4)                  COMMENT 'On hand in the backroom',
    in_transit     Decimal(18, 4)                  COMMENT 'Sent here by other shops and not received yet',
    shelf_known    Bool                            COMMENT 'The shelf was counted or received goods; else its balance is only what has moved',
    backroom_known Bool                            COMMENT 'The same of the backroom',
    on_the_way     Map(String, Decimal(18, 4))     COMMENT 'What in_transit is made of, by reference',
    counted_at     Nullable(DateTime64(3, 'UTC'))  COMMENT 'When it was last counted, on the shelf or in the back',
    moved_at       DateTime64(3, 'UTC')            COMMENT 'Time of its newest movement',
    newest_count   Bool                            COMMENT 'That movement is a COUNT',
    newest_event   String                          COMMENT 'event_id of that movement',
    version        UInt64                          COMMENT 'Movements known, the highest holds',
    updated_at     DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (store_id, sku)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What is on hand now, one row a shop and article. Query with FINAL.';

CREATE TABLE IF NOT EXISTS stock_discrepancies
(
    store_id   String                 COMMENT 'The shop',
    sku        String                 COMMENT 'The article',
    location   LowCardinality(String) COMMENT 'SHELF or BACKROOM',
    counted_at DateTime64(3, 'UTC')   COMMENT 'When it was counted',
    event_id   UUID                   COMMENT 'The COUNT',
    expected   Decimal(18, 4)         COMMENT 'What the ledger held until then',
    counted    Decimal(18, 4)         COMMENT 'What was found',
    difference Decimal(18, 4)         COMMENT 'counted minus expected, 0 for an opening',
    is_opening Bool                   COMMENT 'The first count of this place, with nothing received there before: it differs from nothing',
    actor      String                 COMMENT 'Who counted, empty when not said',
    version    UInt64                 COMMENT 'Movements of the article known when it was written, the highest holds: late ones change expected',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the row was written'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (store_id, sku, location, counted_at, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What each count found beside what the ledger held. Query with FINAL.';
