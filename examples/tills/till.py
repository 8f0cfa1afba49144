"""Publish receipts: each line of standard input is STORE_ID, a tab, and a receipt in JSON. Exit code 0: Kafka has them all.

pip install confluent-kafka; python till.py < receipts.tsv
"""

import os
import sys

from confluent_kafka import Producer

config = {
    "bootstrap.servers": os.environ.get("KAFKA", "127.0.0.1:9092"),
    "enable.idempotence": True,  # and with it acks=all, retries, and their order
    "delivery.timeout.ms": 30_000,
    "compression.type": os.environ.get("COMPRESSION", "lz4"),
    "partitioner": "murmur2_random",  # as Java and JavaScript do: librdkafka's own default puts shops elsewhere
}
if "KAFKA_USER" in os.environ:
    config |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-512"}
    config |= {"sasl.username": os.environ["KAFKA_USER"], "sasl.password": os.environ["KAFKA_PASSWORD"]}
topic = os.environ.get("TOPIC", "transactions")
failed = 0


def reported(error, message):
    """Only this says whether Kafka has a record."""
    global failed
    if error is not None:
        failed += 1
        print(f"not delivered: {error.str()}", file=sys.stderr)


producer = Producer(config)
for line in sys.stdin.buffer:
    store, _, receipt = line.rstrip(b"\n").partition(b"\t")
    while True:
        try:
            producer.produce(topic, receipt, store, on_delivery=reported)
            break
        except BufferError:  # the local queue is full: Kafka is slower than we are
            producer.poll(0.1)
        except Exception as error:  # too large for the client itself
            failed += 1
            print(f"not delivered: {error}", file=sys.stderr)
            break
    producer.poll(0)
sys.exit(1 if producer.flush(60) or failed else 0)
