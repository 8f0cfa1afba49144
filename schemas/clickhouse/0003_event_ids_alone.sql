-- Looking up ids that are not stored is most of what ClickHouse does for a worker. Uncompressed blocks of 2 KB, one granule of 128 ids, are
-- read instead of 64 KB that must be decompressed. Where and when the event happened is told by the duplicate itself.

ALTER TABLE event_ids
    DROP COLUMN IF EXISTS store_id,
    DROP COLUMN IF EXISTS visitor_id,
    DROP COLUMN IF EXISTS timestamp;

ALTER TABLE event_ids
    MODIFY COLUMN event_id UUID COMMENT 'Identity of a stored visit event' CODEC(NONE),
    MODIFY COLUMN received_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the id was stored';

ALTER TABLE event_ids MODIFY SETTING min_compress_block_size = 2048, max_compress_block_size = 2048;

ALTER TABLE event_ids MODIFY COMMENT 'Which event ids are stored, to tell duplicates: the same id is one fact whatever else it carries.';
