"""The command line: ``aisleflow --help`` shows the whole product. Commands live in ``aisleflow/commands``."""

import typer

from aisleflow.commands import demo, doctor, migrate, publish, simulate, topics, up, worker

app = typer.Typer(
    name="aisleflow",
    help="Shop events on Kafka to answers in ClickHouse: visits, conversion, queues, alerts, a wall and an API.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords
)

app.command()(up.up)
app.command()(doctor.doctor)
app.command()(migrate.migrate)
app.command()(topics.topics)
app.command()(worker.worker)
app.add_typer(publish.app, name="publish")
app.command()(simulate.simulate)
app.command()(demo.demo)
