"""How each real component starts: Kafka, ClickHouse, PostgreSQL, images."""
