"""``aisleflow capacity``: what a number of shops needs, from what was measured. docs/scale.md explains the formulas."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, NamedTuple

import typer

DAY_S = 86_400
KAFKA_REPLICAS_FROM = 100
"""Shops from which an outage costs more than three brokers and a second replica of ClickHouse."""


class Figure(NamedTuple):
    """A measured value: where it stands, in ``benchmarks/results/FILE.json`` or as an assumption's reason."""

    value: float
    unit: str
    source: str


#: What one machine was seen to do (docs/performance.md); a test holds each against its file.
MEASURED = {
    "worker_us": Figure(11.0, "µs of a worker's CPU a record, in large cycles", "scaling_workers: even, 1 worker"),
    "worker_idle_cores": Figure(0.25, "cores a worker uses beside that, at five cycles a second", "soak: cpu_seconds"),
    "clickhouse_us": Figure(
        14.5, "µs of ClickHouse's CPU a record, in large cycles", "scaling_workers: even, 1 worker"
    ),
    "clickhouse_idle_cores": Figure(1.1, "cores of ClickHouse a worker costs beside that", "soak: cpu_seconds"),
    "kafka_us": Figure(63.0, "µs of Kafka's CPU a record", "soak: cpu_seconds"),
    "visit_bytes": Figure(867, "bytes of a worker's memory a visit of the day", "scaling_state"),
    "worker_mib": Figure(330, "MiB of a worker on a backlog, without many visits", "throughput: peak_mib"),
    "restart_s": Figure(38.4, "s until a million visits are back after a restart", "scaling_state"),
    "answer_ms": Figure(24.65, "ms of CPU an answer, API and ClickHouse", "queries: cpu_ms_a_request"),
    "event_kafka_bytes": Figure(388, "bytes of an event on Kafka, sent alone", "storage"),
    "receipt_kafka_bytes": Figure(391, "bytes of a receipt on Kafka, sent alone", "storage"),
    "event_bytes": Figure(49.3, "bytes of an event in ClickHouse, with its id", "storage"),
    "receipt_bytes": Figure(61.4, "bytes of a receipt in ClickHouse", "storage"),
    "visit_row_bytes": Figure(27.0, "bytes of a visit in ClickHouse", "storage"),
    "stay_bytes": Figure(21.1, "bytes of a stay in a zone in ClickHouse", "storage"),
    "cameras_a_core": Figure(6.5, "cameras of five looks a second on a core", "camera: cameras_of_5_looks on 2 cores"),
}


@dataclass(frozen=True)
class Assumptions:
    """What a chain is like. The defaults are those of the simulator's shops, which have some 400 visits a day."""

    shops: int = 1_000
    visits: float = 400
    """Visits a shop and day."""
    events: float = 11
    """Events a visit; where people walk through many zones cameras send 17 (benchmarks/results/camera_week.json)."""
    receipts: float = 0.3
    """Receipts a visit."""
    stays: float = 3
    """Stays in a zone a visit."""
    open_hours: float = 12
    peak: float = 1.6
    """The busiest hour over the mean of the open hours; all shops at once, as within one time zone."""
    cameras: float = 4
    """Cameras a shop, five looks a second each."""
    questions: float = 1
    """Answers of the API a shop and minute."""
    kafka_days: float = 30
    months: float = 13
    """How long events and stays are kept in ClickHouse; visits and receipts nearly twice as long (25 by default)."""
    largest: int = 10_000
    """Shops of one installation; a larger chain gets several."""
    busy: float = 0.6
    """Share of a core that a worker is planned for: what is left catches up after a restart."""
    visits_a_worker: float = 2e6
    """The most visits of a worker; more take longer than a minute and a half to come back."""
    core_price: float = 25
    """A core for a month, in any currency: the three prices only rank what costs most. Put in your own."""
    gib_price: float = 3
    """A GiB of memory for a month."""
    tib_price: float = 90
    """A TiB of disk for a month."""


@dataclass(frozen=True)
class Plan:
    """What one installation needs; ``installations`` of them serve the chain."""

    installations: int
    shops: int
    records_a_day: float
    records_a_second: float
    """In the busiest hour."""
    workers: int
    worker_gib: float
    """Memory of each at the end of the day."""
    restart_s: float
    """Until a worker that fell then answers for all its shops again."""
    partitions: int
    brokers: int
    kafka_gib_a_day: float
    """Of one copy."""
    broker_tib: float
    """Disk of each, for as long as Kafka keeps facts."""
    kafka_cores: float
    clickhouse_replicas: int
    clickhouse_cores: float
    """Of the replica that is written to."""
    clickhouse_gib_a_day: float
    clickhouse_tib: float
    """Disk of each replica, for as long as rows are kept."""
    answer_cores: float
    """API and ClickHouse together, for the answers."""
    camera_cores: float


def plan(given: Assumptions) -> Plan:
    """Work one installation out."""
    m = {name: figure.value for name, figure in MEASURED.items()}
    installations = math.ceil(given.shops / given.largest)
    shops = math.ceil(given.shops / installations)
    visits = shops * given.visits
    events, receipts = visits * given.events, visits * given.receipts
    records = events + receipts
    rate = records / (given.open_hours * 3600) * given.peak
    spare = given.busy - m["worker_idle_cores"]
    workers = max(math.ceil(visits / given.visits_a_worker), math.ceil(rate * m["worker_us"] / 1e6 / spare))
    several = shops >= KAFKA_REPLICAS_FROM
    workers = max(workers, 2 if several else 1)
    brokers = 3 if several else 1
    # As many copies as brokers: each holds all.
    kafka_day = events * m["event_kafka_bytes"] + receipts * m["receipt_kafka_bytes"]
    short = events * m["event_bytes"] + visits * given.stays * m["stay_bytes"]
    long = receipts * m["receipt_bytes"] + visits * m["visit_row_bytes"]
    month = 30.44
    return Plan(
        installations=installations,
        shops=shops,
        records_a_day=records,
        records_a_second=rate,
        workers=workers,
        worker_gib=(m["worker_mib"] * 2**20 + visits / workers * m["visit_bytes"]) / 2**30,
        restart_s=visits / workers / 1e6 * m["restart_s"],
        partitions=max(8, 2 ** math.ceil(math.log2(4 * workers))),
        brokers=brokers,
        kafka_gib_a_day=kafka_day / 2**30,
        broker_tib=kafka_day * given.kafka_days / 2**40,
        kafka_cores=rate * m["kafka_us"] / 1e6,
        clickhouse_replicas=2 if several else 1,
        clickhouse_cores=workers * m["clickhouse_idle_cores"] + rate * m["clickhouse_us"] / 1e6,
        clickhouse_gib_a_day=(short + long) / 2**30,
        clickhouse_tib=(short * given.months + long * given.months * 25 / 13) * month / 2**40,
        answer_cores=shops * given.questions / 60 * m["answer_ms"] / 1e3,
        camera_cores=shops * given.cameras / m["cameras_a_core"],
    )


def costs(made: Plan, given: Assumptions) -> list[tuple[str, float]]:
    """What the whole chain pays for, by ``given``'s prices a month, dearest first.

    Memory of Kafka, ClickHouse and API is left out: it was not measured at these sizes.
    """
    worker_cores = made.workers * given.busy
    disk = {
        "Kafka's disks": made.brokers * made.broker_tib,
        "ClickHouse's disks": made.clickhouse_replicas * made.clickhouse_tib,
    }
    found = {
        "cameras' cores": made.camera_cores * given.core_price,
        "ClickHouse's cores": made.clickhouse_replicas * made.clickhouse_cores * given.core_price,
        "workers' cores": worker_cores * given.core_price,
        "workers' memory": made.workers * made.worker_gib * given.gib_price,
        "Kafka's cores": made.brokers * made.kafka_cores * given.core_price,
        "answers' cores": made.answer_cores * given.core_price,
        **{name: size * given.tib_price for name, size in disk.items()},
    }
    return sorted(((name, price * made.installations) for name, price in found.items()), key=lambda one: -one[1])


_LINES = {
    "installations": "installations side by side",
    "shops": "shops of each",
    "records_a_day": "records a day",
    "records_a_second": "records a second, busiest hour",
    "partitions": "partitions of each topic of facts",
    "workers": "workers",
    "worker_gib": "memory of each, GiB",
    "restart_s": "back after a restart, s",
    "brokers": "Kafka brokers",
    "kafka_gib_a_day": "Kafka, GiB a day (one copy)",
    "broker_tib": "disk of each broker, TiB",
    "kafka_cores": "cores of each broker",
    "clickhouse_replicas": "ClickHouse replicas (one shard)",
    "clickhouse_cores": "cores of each",
    "clickhouse_gib_a_day": "ClickHouse, GiB a day (one copy)",
    "clickhouse_tib": "disk of each, TiB",
    "answer_cores": "cores for answers",
    "camera_cores": "cores for cameras",
}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def table(plans: list[Plan]) -> list[list[str]]:
    """A heading and a row for each thing that is needed, a column for each plan."""
    heading = ["of one installation", *(f"{made.shops * made.installations:,} shops" for made in plans)]
    return [heading, *([words, *(_number(getattr(made, name)) for made in plans)] for name, words in _LINES.items())]


def sources() -> list[list[str]]:
    """A heading and a row for each measured figure."""
    return [["measured", "what", "from"], *([f"{value:g}", unit, source] for value, unit, source in MEASURED.values())]


def markdown(rows: list[list[str]]) -> str:
    """Rows, the first of them headings, as docs/scale.md has them."""
    ruled = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(row)} |\n" for row in ruled)


def capacity(
    shops: Annotated[list[int] | None, typer.Argument(min=1, help="Numbers of shops, a column each.")] = None,
    assume: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER in place of an assumption, as often as you like.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plans, assumptions and measured figures as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The tables of docs/scale.md.")] = False,
) -> None:
    """Work out what a number of shops needs: workers, partitions, brokers, disks, cores."""
    from rich.console import Console
    from rich.table import Table

    names = {one.name for one in fields(Assumptions)} - {"shops"}
    changed: dict[str, float] = {}
    for text in assume or []:
        name, _, value = text.partition("=")
        try:
            changed[name] = float(value)
        except ValueError:
            changed[name] = 0
        if name not in names or changed[name] <= 0:
            raise typer.BadParameter(
                f"{text!r} is not NAME=NUMBER; there are {', '.join(sorted(names))}", param_hint="--assume"
            )
    given = replace(Assumptions(), **changed)  # type: ignore[arg-type]
    if given.busy <= MEASURED["worker_idle_cores"].value:
        raise typer.BadParameter("busy must be more than a worker uses without records", param_hint="--assume")
    plans = [plan(replace(given, shops=number)) for number in shops or [10, 1_000, 100_000]]
    if as_json:
        assumptions = {name: value for name, value in asdict(given).items() if name != "shops"}
        measured = {name: figure._asdict() for name, figure in MEASURED.items()}
        typer.echo(
            json.dumps({"plans": [asdict(one) for one in plans], "assumptions": assumptions, "measured": measured})
        )
        return
    if as_markdown:
        typer.echo(f"{markdown(table(plans))}\n{markdown(sources())}", nl=False)
        return
    console = Console(highlight=False)
    heading, *rows = table(plans)
    drawn = Table(*heading[:1], box=None, padding=(0, 2, 0, 0))
    for column in heading[1:]:
        drawn.add_column(column, justify="right")
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)
    for made in plans:
        (_, cameras), *rest = sorted(costs(made, given), key=lambda one: not one[0].startswith("cameras"))
        total = sum(price for _, price in rest)
        words = ", ".join(f"{name} {price / total:.0%}" for name, price in rest if price / total >= 0.005)
        console.print(
            f"\n{made.shops * made.installations:,} shops: cameras cost {cameras / (cameras + total):.0%}; of the rest {words}"
        )
    console.print(
        "\nFigures are those of one small machine (--json names their sources); beyond what was measured they are "
        "extrapolated: see docs/scale.md."
    )
