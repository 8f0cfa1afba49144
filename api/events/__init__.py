"""Facts over HTTP: visit events, till transactions and store layouts, published to Kafka like any producer's."""
