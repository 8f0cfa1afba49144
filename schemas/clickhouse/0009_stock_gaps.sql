-- What is to be done about an article follows from its movements as its balances do, so it stands beside them.

ALTER TABLE stock_positions
    ADD COLUMN IF NOT EXISTS seen_missing Bool DEFAULT false
        COMMENT 'The last photo of the shelf showed none of it, and nothing has come to the shelf since',
    ADD COLUMN IF NOT EXISTS gap LowCardinality(String) DEFAULT ''
        COMMENT 'What is to be done: FILL_SHELF (the back has some), ORDER (neither has), COUNT (the ledger cannot be right), or empty',
    ADD COLUMN IF NOT EXISTS gap_since DateTime64(3, 'UTC') DEFAULT toDateTime64(0, 3, 'UTC')
        COMMENT 'Since when the gap is what it is';

ALTER TABLE stock_movements
    MODIFY COLUMN kind LowCardinality(String)
        COMMENT 'RECEIVE, FILL_SHELF, SALE, RETURN, WASTE, TRANSFER or COUNT; SCAN is what a photo of the shelf showed, and moves nothing',
    MODIFY COLUMN source LowCardinality(String) COMMENT 'MOVEMENT, TILL for a line of a receipt, SCAN for a photo';
