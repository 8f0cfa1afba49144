"""infra/kubernetes/chain/kafka-users.yaml, made from what our parts may do: ``python -m tests.infra.kafka_users`` writes it anew."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from aisleflow.access import parts_grants
from aisleflow.settings import Settings

FILE = Path(__file__).parents[2] / "infra/kubernetes/chain/kafka-users.yaml"
PARTS = ("worker", "gate", "api", "forecasts", "restock")
HEAD = """# Each part is a user with the least that it needs, as aisleflow/access.py says; `python -m tests.infra.kafka_users` writes this
# file. Strimzi makes the passwords and keeps them in Secrets of the same names.
"""
USER = """apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: aisleflow-{name}
  labels: {{strimzi.io/cluster: aisleflow}}
spec:
  authentication: {{type: scram-sha-512}}
  authorization:
    type: simple
    acls:
"""
#: Users beside the parts: who makes topics, and who asks for the lag.
OTHERS = {
    "topics": ['{resource: {type: topic, name: "*"}, operations: [Create, Describe, DescribeConfigs, AlterConfigs]}'],
    "keda": [
        "{resource: {type: topic, name: visit-events}, operations: [Describe]}",
        "{resource: {type: group, name: aisleflow}, operations: [Describe]}",
    ],
}


def text() -> str:
    """The file, for the defaults of prefix and group."""
    operations: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in PARTS}
    for grant in parts_grants(Settings(_env_file=None, topic_prefix="", consumer_group="aisleflow")):
        if grant.user in operations:
            pattern = ", patternType: prefix" if grant.prefixed else ""
            resource = f"{{type: {grant.kind.name.lower()}, name: {grant.name}{pattern}}}"
            operations[grant.user][resource].append(grant.operation.name.title())
    acls = {
        name: [f"{{resource: {resource}, operations: [{', '.join(verbs)}]}}" for resource, verbs in found.items()]
        for name, found in operations.items()
    }
    users = (
        USER.format(name=name) + "".join(f"      - {line}\n" for line in lines)
        for name, lines in (acls | OTHERS).items()
    )
    return HEAD + "---\n".join(users)


if __name__ == "__main__":
    FILE.write_text(text())
