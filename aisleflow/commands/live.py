"""``aisleflow live``: invented shops into a system that already runs, such as the one in containers."""

from __future__ import annotations

import typer

from aisleflow.commands.demo import Pace, Seed, Shops, WithFaults


def live(
    shops: Shops = 20,
    pace: Pace = 4.0,
    seed: Seed = 1,
    faults: WithFaults = True,
) -> None:
    """Simulate shops from a week ago until now and go on live, into the Kafka of AISLEFLOW_KAFKA. Ctrl-C stops it."""
    import asyncio
    import signal

    from confluent_kafka import KafkaException
    from rich.console import Console

    from aisleflow import demo
    from aisleflow.settings import settings

    chosen = settings()
    chosen.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = demo.resume_or_begin(
        demo.Plan(shops=shops, seed=seed, pace=pace, faults=faults, check_s=None), chosen.data_dir
    )
    url = f"http://{chosen.host}:{chosen.api_port}"

    async def play() -> None:
        task = asyncio.ensure_future(demo.play(plan, chosen, url, Console(stderr=True)))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            typer.echo("stopped", err=True)

    try:
        asyncio.run(play())
    except KafkaException as error:
        typer.echo(f"live: {error.args[0]} (Kafka at {chosen.kafka_bootstrap})", err=True)
        raise typer.Exit(1) from None
