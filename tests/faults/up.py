"""``aisleflow up`` with every connection to Kafka and to ClickHouse led through the harness's proxies.

``python -m tests.faults.up --kafka-proxy P --clickhouse-proxy P --silent-for S``; everything else by ``AISLEFLOW_*``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import replace

from pydantic import SecretStr

from aisleflow.settings import Settings
from aisleflow.supervisor import Part, Supervisor


class ProxiedSupervisor(Supervisor):
    """Starts the servers as always, and tells everybody to find them at the proxies."""

    def __init__(self, settings: Settings, kafka_proxy: int, clickhouse_proxy: int, silent_for_s: float) -> None:
        super().__init__(settings)
        self._kafka_proxy = kafka_proxy
        self._silent_for_s = silent_for_s
        self.settings = self.settings.model_copy(
            update={
                "kafka": f"127.0.0.1:{kafka_proxy}",
                "clickhouse_url": SecretStr(self._secrets.clickhouse_url(clickhouse_proxy)),
            }
        )

    def servers(self) -> list[Part]:
        """Kafka and ClickHouse; Kafka sends its clients to the proxy."""
        kafka, clickhouse = super().servers()
        command = [*kafka.command, "--advertised-port", str(self._kafka_proxy)]
        return [
            replace(part, silent_for_s=self._silent_for_s) for part in (replace(kafka, command=command), clickhouse)
        ]

    def programs(self) -> list[Part]:
        """The workers and the API."""
        return [replace(part, silent_for_s=self._silent_for_s) for part in super().programs()]


def main() -> int:
    """Run until told to stop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kafka-proxy", type=int, required=True)
    parser.add_argument("--clickhouse-proxy", type=int, required=True)
    parser.add_argument("--silent-for", type=float, required=True)
    given = parser.parse_args()
    settings = Settings(_env_file=None)
    return asyncio.run(ProxiedSupervisor(settings, given.kafka_proxy, given.clickhouse_proxy, given.silent_for).run())


if __name__ == "__main__":
    sys.exit(main())
