"""``aisleflow clean FILE.csv``: a stock list or a till's export of any form, cleaned; nothing invented, nothing lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from producers.stock.cleaning import Summary


def clean(
    file: Annotated[Path, typer.Argument(help="The CSV file, .gz too; encoding, delimiter and columns are found out.")],
    out: Annotated[
        Path | None, typer.Option(help="Cleaned rows, .csv or .parquet; FILE.cleaned.csv if left out.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="The HTML report; FILE.report.html if left out.")] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Every row, cell and duplicate not taken, with its reason; FILE.rejects.csv if left out."),
    ] = None,
    schema: Annotated[str, typer.Option(help="inventory, sales or auto: what the header fits.")] = "auto",
    time_zone: Annotated[str, typer.Option(help="What local times in the file mean, such as Asia/Kolkata.")] = "UTC",
    encoding: Annotated[str, typer.Option(help="Encoding, such as cp1250; found out if left out.")] = "",
    delimiter: Annotated[str, typer.Option(help="Delimiter; found out if left out.")] = "",
    decimal: Annotated[
        str, typer.Option(help="Decimal mark, . or , where you know it; each column's cells tell if left out.")
    ] = "",
    today: Annotated[
        str, typer.Option(help="Day after which dates are in the future, yyyy-mm-dd; today if left out.")
    ] = "",
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="List duplicates, but keep them.")] = False,
) -> None:
    """Clean a stock list or a till's export.

    What cannot be known stays empty and is listed with its line, column, text and reason. Exit code 0: cleaned, 3: the file could
    not be read as a table, or an output not written.
    """
    from datetime import UTC, date, datetime
    from zoneinfo import ZoneInfo

    from rich.console import Console

    from producers.stock.cleaning import Options
    from producers.stock.cleaning import clean as run
    from producers.stock.reading import UnreadableError
    from producers.stock.schema import SCHEMAS

    if schema not in (*SCHEMAS, "auto"):
        raise typer.BadParameter(f"{schema!r} is none of {', '.join(SCHEMAS)}, auto", param_hint="--schema")
    if decimal not in ("", ".", ","):
        raise typer.BadParameter("is . or ,", param_hint="--decimal")
    try:
        zone = ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{time_zone!r} is not an IANA time zone", param_hint="--time-zone") from None
    try:
        day = date.fromisoformat(today) if today else datetime.now(UTC).date()
    except ValueError:
        raise typer.BadParameter(f"{today!r} is not a day as yyyy-mm-dd", param_hint="--today") from None
    base = file.with_suffix("") if file.suffix == ".gz" else file
    out = out or base.with_suffix(".cleaned.csv")
    rejects = rejects or base.with_suffix(".rejects.csv")
    report = report or base.with_suffix(".report.html")
    outputs = [path.resolve() for path in (file, out, rejects, report)]
    if len(set(outputs)) < len(outputs):
        raise typer.BadParameter("FILE, --out, --rejects and --report must be different files")
    options = Options(
        *(day, zone, "" if schema == "auto" else schema, encoding, delimiter, decimal, keep_duplicates),
    )
    console = Console(stderr=True)
    try:
        with console.status(f"{file.name}: reading") as status:
            summary = run(
                *(file, out, rejects, options, report),
                progress=lambda step, rows: status.update(f"{file.name}: {step}, {rows:,} rows"),
            )
    except (UnreadableError, OSError) as error:
        reason = (
            f"{error.filename}: {error.strerror}"
            if isinstance(error, OSError) and error.filename
            else f"{file}: {error}"
        )
        typer.echo(f"aisleflow clean: {reason}", err=True)
        raise typer.Exit(3) from None
    for line in told(summary):
        typer.echo(line)
    typer.echo(f"rows: {out}\nnot taken: {rejects}\nreport: {report}")


def told(summary: Summary) -> list[str]:
    """What became of a file, in a few lines."""
    source = summary.source
    mark = {"\t": "tab"}.get(source.delimiter, source.delimiter)
    lines = [
        f"{source.path.name}: {summary.schema.name}, {source.encoding}, delimiter {mark}, {len(source.header)} columns",
        f"{summary.rows:,} rows read, {summary.written:,} written, {summary.refused.total():,} refused, "
        f"{summary.duplicates.total():,} duplicates",
    ]
    lines += [f"  refused {count:,}: {reason}" for reason, count in summary.refused.most_common()]
    lines += [f"  duplicate {count:,}: {rule}" for rule, count in summary.duplicates.most_common()]
    if summary.conflicts:
        lines.append(f"  look at {summary.conflicts:,}: a row has the key of another but other content")
    for column in summary.columns:
        lines += [f"  {column.name}: {count:,} {what}" for what, count in column.done.most_common()]
        lines += [f"  {column.name}: {count:,} emptied: {what}" for what, count in column.emptied.most_common()]
        lines += [f"  {column.name}: {count:,} to look at: {what}" for what, count in column.doubted.most_common()]
    return lines
