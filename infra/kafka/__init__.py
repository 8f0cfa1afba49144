"""Apache Kafka on one machine: a single KRaft node, its jars fetched once with Maven."""
