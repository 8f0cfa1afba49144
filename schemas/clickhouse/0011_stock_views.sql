-- The views of the stock tables with the columns that those have won since.

CREATE OR REPLACE VIEW stock_positions_final
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
    updated_at     DateTime64(3, 'UTC')           COMMENT 'When the row was written',
    seen_missing   Bool                           COMMENT 'The last photo of the shelf showed none of it, and nothing has come to the shelf since',
    gap            String                         COMMENT 'What is to be done: FILL_SHELF (the back has some), ORDER (neither has), COUNT (the ledger cannot be right), or empty',
    gap_since      DateTime64(3, 'UTC')           COMMENT 'Since when the gap is what it is'
)
SQL SECURITY INVOKER
AS SELECT store_id, sku, shelf, backroom, in_transit, shelf_known, backroom_known, on_the_way, counted_at, moved_at, newest_count,
    newest_event, updated_at, seen_missing, gap, gap_since
FROM stock_positions FINAL
COMMENT 'What is on hand now, one row a shop and article.';

CREATE OR REPLACE VIEW stock_movements_final
(
    event_id      UUID                 COMMENT 'Identity of the movement; a line of a receipt has one of its own',
    store_id      String               COMMENT 'The shop',
    sku           String               COMMENT 'The article',
    timestamp     DateTime64(3, 'UTC') COMMENT 'When it happened',
    kind          String               COMMENT 'RECEIVE, FILL_SHELF, SALE, RETURN, WASTE, TRANSFER or COUNT; SCAN is what a photo of the shelf showed, and moves nothing',
    quantity      Decimal(18, 4)       COMMENT 'Units or weight; what was found, for a COUNT',
    location      String               COMMENT 'SHELF or BACKROOM: where it was received, sold, wasted, counted or sent from',
    shelf         Decimal(18, 4)       COMMENT 'By how much it changes the shelf; 0 for a COUNT',
    backroom      Decimal(18, 4)       COMMENT 'By how much it changes the backroom; 0 for a COUNT',
    reference     String               COMMENT 'The order, transaction or transfer that it belongs to, empty when none',
    to_store_id   String               COMMENT 'Of a TRANSFER: where it goes, else empty',
    from_store_id String               COMMENT 'Of a TRANSFER announced to the receiving shop: where it comes from, else empty',
    actor         String               COMMENT 'Who or what moved it, empty when not said',
    reason        String               COMMENT 'Why, in words, empty when not said',
    source        String               COMMENT 'MOVEMENT, TILL for a line of a receipt, SCAN for a photo',
    received_at   DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT event_id, store_id, sku, timestamp, kind, quantity, location, shelf, backroom, reference, to_store_id, from_store_id, actor,
    reason, source, received_at
FROM stock_movements FINAL
COMMENT 'Every change of stock, kept for ever: a balance is the sum of all since the last count.';
