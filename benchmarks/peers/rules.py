"""The work with no engine around it: ``python -m benchmarks.peers.rules``.

Batches from confluent-kafka as for the floor, the work of the peers on them, a commit after the inserts. There is no state
that a restart would find, so this is no contender: it tells how much of every peer's time the rules take.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.floor import consume
from benchmarks.peers.work import Batch, Work, settings


def main() -> None:
    """Derive until told to stop."""
    chosen = settings()
    work = Work(chosen)

    def derive(messages: list[Any]) -> None:
        batch = Batch()
        work.take([work.record(m.topic(), m.value(), m.timestamp()[1]) for m in messages], batch)
        work.settle(batch)
        work.flush_dead_letters()
        work.write(batch)

    consume(chosen, derive)


if __name__ == "__main__":
    main()
