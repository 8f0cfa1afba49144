"""``aisleflow dead-letters list|show|replay|drop``: records that could not be read, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stream_processors.engine.dead_letter_desk import Choice, Desk, Summary

app = typer.Typer(
    help="Records that could not be read. They wait in TOPIC.dlq with their original key and bytes and the reason, until they "
    "are replayed or dropped, or for the 90 days that Kafka keeps them. Workers bury only what can never be read; what fails "
    "for a passing reason they try again. Exit code 1: no such letter, or one that still cannot be read; 3: Kafka failed.",
    no_args_is_help=True,
)
Topic = Annotated[str, typer.Argument(help="The topic of facts, such as visit-events.")]
Offsets = Annotated[
    list[int] | None, typer.Option("--offset", min=0, help="The letter at this offset; may be repeated.")
]
Field = Annotated[str | None, typer.Option(help="Letters with this field at fault; an empty one: the whole record.")]
All = Annotated[bool, typer.Option("--all", help="Every letter that waits.")]

KINDS_SHOWN = 20
SHOWN_BYTES = 4096


@app.command("list")
def list_(topic: Annotated[str | None, typer.Argument(help="One topic; all if left out.")] = None) -> None:
    """Show how many letters wait in each topic, since when, and why, with the offset of the newest of each kind."""
    from schemas.topics import TOPICS

    names = [topic] if topic is not None else [name for name, entry in TOPICS.items() if entry.dead_letters]
    empty = True
    for name in names:
        with _desk(name) as desk:
            summary = desk.summary()
            if summary.count:
                empty = False
                _tell(desk.source, summary)
    if empty:
        typer.echo("no dead letters wait")


@app.command()
def show(
    topic: Topic,
    offset: Annotated[int, typer.Argument(min=0, help="The letter's offset, as `list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the exact bytes, to standard output.")] = False,
) -> None:
    """Show one letter: where it came from, why it was refused, its key and its bytes, with unprintable ones escaped."""
    with _desk(topic) as desk:
        letter = desk.letter(offset)
    if letter is None:
        typer.echo(f"dead-letters: there is no letter at offset {offset} of {desk.source}.dlq", err=True)
        raise typer.Exit(1)
    value = letter.value or b""
    if raw:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    typer.echo(f"buried     {_time(letter.at_ms)}")
    for name, text in letter.headers.items():
        typer.echo(f"{name:10} {printable(text.encode())}")
    typer.echo(f"key        {'none' if letter.key is None else printable(letter.key)}")
    typer.echo(f"bytes      {'none' if letter.value is None else len(value)}")
    typer.echo(printable(value[:SHOWN_BYTES]))
    if len(value) > SHOWN_BYTES:
        typer.echo(f"and {len(value) - SHOWN_BYTES:,} bytes more; --raw gives all")


@app.command()
def replay(
    topic: Topic,
    offset: Offsets = None,
    field: Field = None,
    every: All = False,
    to: Annotated[
        Path | None, typer.Option(help="Publish nothing; write the letters to a new file, to be edited.")
    ] = None,
    edited: Annotated[Path | None, typer.Option("--from", help="Publish what such a file holds now.")] = None,
) -> None:
    """Publish letters to their topic again, and list them no more.

    For letters that a newer version of Aisleflow can read, they go with their original keys and bytes; those that it
    cannot read either stay. Others can be mended: --to FILE writes one a line (offset, tab, bytes), --from FILE
    publishes the lines that are left in it. A fact that is there already stays as it is, so replaying twice does no
    harm.
    """
    from stream_processors.engine.dead_letter_desk import Choice, read_edited, write_for_editing

    if edited is not None:
        if to is not None or offset or field is not None or every:
            raise typer.BadParameter("the file says which letters; give nothing else with it", param_hint="--from")
        try:
            with edited.open("rb") as file:
                edits = read_edited(file)
        except (OSError, ValueError) as error:
            raise typer.BadParameter(str(error), param_hint="--from") from None
        choice = Choice(offsets=frozenset(edits))
    else:
        choice, edits = _choice(offset, field, every), {}
    with _desk(topic) as desk:
        if to is not None:
            try:
                with to.open("xb") as file:
                    count = write_for_editing(desk.waiting(choice), file)
            except OSError as error:
                raise typer.BadParameter(str(error), param_hint="--to") from None
            typer.echo(
                f"{count:,} letters written to {to}; edit it, then: aisleflow dead-letters replay {desk.source} --from {to}"
            )
            return
        outcome = desk.replay(choice, edits)
        _tell_untold(desk)
    typer.echo(f"{outcome.published:,} replayed to {desk.source}")
    for at, refusal in outcome.unreadable[:KINDS_SHOWN]:
        where = f"{refusal.field}: " if refusal.field else ""
        typer.echo(f"  offset {at} still cannot be read: {printable(f'{where}{refusal.reason}'.encode())}")
    if (more := len(outcome.unreadable) - KINDS_SHOWN) > 0:
        typer.echo(f"  and {more:,} more")
    if outcome.unreadable or not outcome.published:
        raise typer.Exit(1)


@app.command()
def drop(
    topic: Topic,
    offset: Offsets = None,
    field: Field = None,
    every: All = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """List letters no more. Kafka keeps their bytes until the topic's 90 days are over, and `show` still finds them."""
    choice = _choice(offset, field, every)
    with _desk(topic) as desk:
        letters = [replace(letter, value=None) for letter in desk.waiting(choice)]
        if not letters:
            typer.echo(f"dead-letters: no such letter of {desk.source} waits", err=True)
            raise typer.Exit(1)
        # What is buried while somebody thinks about the question stays.
        if not yes:
            typer.confirm(f"Drop {len(letters):,} dead letters of {desk.source}?", abort=True)
        desk.mark([letter.offset for letter in letters], "dropped")
        desk.note(letters, "dropped")
        _tell_untold(desk)
    typer.echo(f"{len(letters):,} dropped")


def _tell_untold(desk: Desk) -> None:
    if desk.untold:
        typer.echo(
            f"dead-letters: done, but ClickHouse's table dead_letters still lists them as waiting: {desk.untold}",
            err=True,
        )


def _choice(offsets: list[int] | None, field: str | None, every: bool) -> Choice:
    from stream_processors.engine.dead_letter_desk import Choice

    if every == (bool(offsets) or field is not None):
        raise typer.BadParameter("say which letters: --offset or --field, or --all")
    return Choice(frozenset(offsets) if offsets else None, field)


@contextmanager
def _desk(topic: str) -> Iterator[Desk]:
    """The desk of a topic; what Kafka does not do is told in a line."""
    from confluent_kafka import KafkaError, KafkaException

    from aisleflow.settings import settings
    from stream_processors.engine.dead_letter_desk import Desk, UnknownTopic

    try:
        yield Desk(settings(), topic)
    except UnknownTopic as error:
        raise typer.BadParameter(str(error), param_hint="TOPIC") from None
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        if isinstance(error, KafkaException) and error.args[0].code() in (
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_PARTITION,
        ):
            reason += "; `aisleflow topics` creates what is missing"
        typer.echo(f"dead-letters: {reason} (Kafka at {settings().kafka_bootstrap})", err=True)
        raise typer.Exit(3) from None


def _tell(topic: str, summary: Summary) -> None:
    typer.echo(f"{topic}: {summary.count:,} waiting since {_time(summary.oldest_ms)}")
    kinds = sorted(summary.kinds.items(), key=lambda item: (-item[1].count, item[0]))
    for (field, reason), kind in kinds[:KINDS_SHOWN]:
        words = printable(f"{field}: {reason}".encode() if field else reason.encode())
        typer.echo(f"  {kind.count:>7,}  {words}  (newest: offset {kind.newest}, {_time(kind.newest_ms)})")
    if len(kinds) > KINDS_SHOWN:
        typer.echo(f"  and {len(kinds) - KINDS_SHOWN:,} more kinds")


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def printable(data: bytes) -> str:
    """Bytes as text that is safe on a terminal: what does not print, such as an escape sequence, is shown as its
    code.
    """
    text = data.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
