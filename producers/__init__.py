"""Everything that publishes facts to Kafka."""
