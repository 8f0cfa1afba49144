"""The command line: ``aisleflow --help`` shows the whole product. Commands live in ``aisleflow/commands``."""

import typer

from aisleflow.commands import (
    analysts,
    api,
    ask,
    backup,
    camera,
    capacity,
    clean,
    connect,
    contracts,
    dead_letters,
    demo,
    doctor,
    forecast,
    gate,
    grafana,
    layout,
    live,
    migrate,
    models,
    producers,
    publish,
    rederive,
    restock,
    shelf,
    simulate,
    status,
    topics,
    trace,
    train,
    up,
    webhooks,
    worker,
)

app = typer.Typer(
    name="aisleflow",
    help="Shop events on Kafka to answers in ClickHouse: visits, conversion, queues, alerts, a wall and an API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # plain tracebacks in the logs, and no locals, which hold passwords
)

app.command()(up.up)
app.command()(doctor.doctor)
app.command()(status.status)
app.command()(capacity.capacity)
app.command()(trace.trace)
app.command()(migrate.migrate)
app.command()(topics.topics)
app.command()(worker.worker)
app.command()(gate.gate)
app.command()(forecast.forecast)
app.command()(rederive.rederive)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(api.api)
app.command()(ask.ask)
app.add_typer(contracts.app, name="contracts")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(publish.app, name="publish")
app.add_typer(analysts.app, name="analysts")
app.add_typer(producers.app, name="producers")
app.add_typer(camera.app, name="camera")
app.add_typer(layout.app, name="layout")
app.add_typer(grafana.app, name="grafana")
app.command()(clean.clean)
app.command()(connect.connect)
app.add_typer(webhooks.app, name="webhooks")
app.command()(train.train)
app.add_typer(models.app, name="models")
app.command()(shelf.shelf)
app.command()(restock.restock)
app.command()(simulate.simulate)
app.command()(demo.demo)
app.command()(live.live)
