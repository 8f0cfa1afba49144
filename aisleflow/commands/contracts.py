"""``aisleflow contracts export|compatibility``: the contracts as files, and whether the models still keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.compatibility import Finding

app = typer.Typer(help="The contracts as JSON Schema and AsyncAPI, and their compatibility.", no_args_is_help=True)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "contracts.md"


class BaseError(RuntimeError):
    """The place to compare with cannot be read; the message says why."""


@app.command()
def export(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file is not what the models say.")
    ] = False,
) -> None:
    """Write JSON Schema and AsyncAPI to schemas/exported, and the table of topics to docs/contracts.md.

    Refuses (exit 1) while the models break a published schema.
    """
    from schemas import export as exporting

    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else None
    page_is_stale = page is not None and exporting.with_table(page) != page
    if check:
        stale = [f"schemas/exported/{name}" for name in exporting.stale()] + ["docs/contracts.md"] * page_is_stale
        typer.echo("\n".join(f"not current: {name}" for name in stale) or "every exported contract is current")
        if stale:
            typer.echo("Run `aisleflow contracts export` and commit what it writes.", err=True)
            raise typer.Exit(1)
        return
    if broken := [finding for finding in findings(None) if finding.breaks]:
        typer.echo("\n".join(str(finding) for finding in broken), err=True)
        raise typer.Exit(1)
    written = [f"schemas/exported/{name}" for name in exporting.write()]
    if page is not None and page_is_stale:
        PAGE.write_text(exporting.with_table(page), encoding="utf-8")
        written.append("docs/contracts.md")
    typer.echo("\n".join(f"wrote {name}" for name in written) or "every exported contract is current")


@app.command()
def compatibility(
    base: Annotated[
        str | None,
        typer.Option(
            help="A folder of exported contracts, or a git revision, such as origin/main; schemas/exported if left out."
        ),
    ] = None,
) -> None:
    """Compare the models with every schema ever exported. Exit code 1 if senders or readers of an older one would
    break.
    """
    try:
        found = findings(base)
    except BaseError as error:
        typer.echo(f"contracts compatibility: {error}", err=True)
        raise typer.Exit(3) from None
    for finding in found:
        typer.echo(str(finding))
    if any(finding.breaks for finding in found):
        raise typer.Exit(1)
    typer.echo("compatible with every published schema")


def findings(base: str | None) -> list[Finding]:
    """What the models change against the exported contracts at a place.

    Args:
        base: a folder, a git revision, or None for ``schemas/exported``.

    Raises:
        BaseError: it is neither, or holds no contracts.
    """
    from schemas import export as exporting
    from schemas.compatibility import compare_all, compare_channels

    folder = exporting.EXPORTED if base is None else Path(base)
    files = _folder(folder) if folder.is_dir() or base is None else _revision(base)
    if exporting.ASYNCAPI not in files and base is not None:
        raise BaseError(f"there are no contracts in {base}")
    published: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(files.keys() - {exporting.ASYNCAPI}):
        published.setdefault(Path(name).name.split(".")[0], []).append(json.loads(files[name]))
    found = compare_all(published, {name: exporting.json_schema(event) for name, event in exporting.events().items()})
    if exporting.ASYNCAPI in files:
        found += compare_channels(json.loads(files[exporting.ASYNCAPI]), exporting.asyncapi(""))
    return found


def _folder(folder: Path) -> Mapping[str, bytes]:
    paths = [*folder.glob("*.json"), *folder.glob("history/*.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _revision(revision: str) -> Mapping[str, bytes]:
    """The exported contracts as a git revision holds them."""
    prefix = "schemas/exported/"
    listing = _git("ls-tree", "-r", "-z", "--name-only", "--end-of-options", revision, prefix).decode()
    names = [name for name in listing.split("\0") if name.endswith(".json")]
    return {name.removeprefix(prefix): _git("show", "--end-of-options", f"{revision}:{name}") for name in names}


def _git(*arguments: str) -> bytes:
    import subprocess

    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603, S607
    except FileNotFoundError:
        raise BaseError("git is not installed; give a folder") from None
    except subprocess.CalledProcessError as error:
        raise BaseError(error.stderr.decode(errors="replace").strip()) from None
