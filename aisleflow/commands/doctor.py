"""``aisleflow doctor``: can this machine run Aisleflow, and if not, what to do."""

import typer


def doctor() -> None:
    """Check Java, Kafka's jars, ports, disk, memory and packages; exit code 1 if something is missing."""
    from rich.console import Console

    from aisleflow.doctor import examine
    from aisleflow.settings import Settings

    console = Console()
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    findings = list(examine(Settings()))
    for finding in findings:
        line = f"[{colours[finding.verdict]}]{finding.verdict:<4}[/] {finding.what:<15} {finding.found}"
        console.print(line, highlight=False, soft_wrap=True)
        if finding.advice:
            console.print(f"     {'':<15} {finding.advice}", style="dim", highlight=False, soft_wrap=True)
    if any(finding.verdict == "fail" for finding in findings):
        raise typer.Exit(1)
