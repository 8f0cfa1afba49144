"""ClickHouse on one machine: the embedded engine behind ClickHouse's own HTTP protocol."""
