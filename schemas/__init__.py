"""The contracts: events, the topic registry, ClickHouse migrations, exported JSON Schema and AsyncAPI."""
