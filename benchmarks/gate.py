"""What the gate costs: receipts a second that it passes on, and how much later they are on the topic of facts.

``python -m benchmarks.gate``: a secured Kafka of its own, a gate as its own user; 50,000 receipts of three lines wait at a
door, then 200 more come one by one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition

from aisleflow.clients import kafka_config, kafka_producer
from aisleflow.commands import producers
from aisleflow.settings import as_kafka_user
from aisleflow.supervisor import aisleflow_command, environment
from tests.conftest import secured_kafka

RECEIPTS, ONE_BY_ONE = 50_000, 200


def receipt(number: int) -> bytes:
    """A receipt of some 330 bytes."""
    lines = [{"sku": f"SKU-{number % 50}-{line}", "quantity": "2", "unit_price": "299.00"} for line in range(3)]
    head = {"store_id": "S1", "transaction_id": f"T{number}", "timestamp": "2026-11-20T10:00:00+05:30"}
    return json.dumps(
        {**head, "basket_value": "1794.00", "currency": "INR", "payment_kind": "upi", "lines": lines}
    ).encode()


def cpu_s(pid: int) -> float:
    """What a process has used, in user and kernel, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="aisleflow-gate-") as folder, secured_kafka(Path(folder)) as settings:
        admin = as_kafka_user(settings, "admin")
        (door,) = producers.create(admin, "till", ["S1"], ["transactions"])["doors"]
        producer = kafka_producer(admin)
        for number in range(RECEIPTS):
            producer.produce(door, receipt(number), "S1")
            producer.poll(0)
        producer.flush()
        reader = Consumer({**kafka_config(admin), "group.id": "bench", "auto.offset.reset": "earliest"})
        reader.assign([TopicPartition("transactions", number, 0) for number in range(settings.store_partitions)])
        variables = {**os.environ, **environment(as_kafka_user(settings, "gate"))}
        gate = subprocess.Popen(aisleflow_command("gate"), env=variables)
        try:
            seen, began, used = 0, 0.0, 0.0
            while seen < RECEIPTS:
                seen += sum(message.error() is None for message in reader.consume(1000, 1.0))
                if seen and not began:
                    began, used, first = time.monotonic(), cpu_s(gate.pid), seen
            took, used = time.monotonic() - began, cpu_s(gate.pid) - used
            passed = RECEIPTS - first
            print(f"{passed / took:,.0f} receipts/s on the clock, {passed / used:,.0f} per second of the gate's CPU")
            waits = []
            for number in range(ONE_BY_ONE):
                producer.produce(door, receipt(RECEIPTS + number), "S1")
                producer.flush()
                acknowledged = time.monotonic()
                while (message := reader.poll(1.0)) is None or message.error() is not None:
                    pass
                waits.append((time.monotonic() - acknowledged) * 1000)
                time.sleep(0.05)
            cuts = statistics.quantiles(waits, n=100)
            print(
                f"from the acknowledgement at the door to a reader: {cuts[49]:.0f} ms (median), {cuts[98]:.0f} ms (99 in 100)"
            )
        finally:
            gate.terminate()
            gate.wait(20)
            reader.close()


if __name__ == "__main__":
    main()
