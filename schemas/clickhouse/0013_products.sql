-- The catalogue: what articles are called, and what groups they belong to. Shops share it.

CREATE TABLE IF NOT EXISTS products
(
    sku         String                 COMMENT 'The article',
    name        String                 COMMENT 'What people call it, empty when not said',
    category    LowCardinality(String) COMMENT 'The group of articles that it belongs to, empty when not said',
    gtin        String                 COMMENT 'GTIN as digits, empty when not said',
    unit        LowCardinality(String) COMMENT 'What quantities of it count: pcs, kg, l',
    pack        Decimal(18, 4)         COMMENT 'Units in a pack as it is ordered',
    timestamp   DateTime64(3, 'UTC')   COMMENT 'When it was so, of several rows the newest holds',
    received_at DateTime64(3, 'UTC')   COMMENT 'When Kafka took it'
)
ENGINE = ReplacingMergeTree(timestamp)
ORDER BY sku
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The catalogue, one row an article, the same in all shops. Query with FINAL.';

CREATE VIEW IF NOT EXISTS products_final
(
    sku         String               COMMENT 'The article',
    name        String               COMMENT 'What people call it, empty when not said',
    category    String               COMMENT 'The group of articles that it belongs to, empty when not said',
    gtin        String               COMMENT 'GTIN as digits, empty when not said',
    unit        String               COMMENT 'What quantities of it count: pcs, kg, l',
    pack        Decimal(18, 4)       COMMENT 'Units in a pack as it is ordered',
    timestamp   DateTime64(3, 'UTC') COMMENT 'When it was so, of several rows the newest holds',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka took it'
)
SQL SECURITY INVOKER
AS SELECT sku, name, category, gtin, unit, pack, timestamp, received_at
FROM products FINAL
COMMENT 'The catalogue, one row an article, the same in all shops.';
