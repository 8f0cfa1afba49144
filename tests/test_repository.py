"""What must hold of the repository as a whole: files, pinned requirements, and what documents point to."""

from __future__ import annotations

import itertools
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from typer.testing import CliRunner

from aisleflow.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
REQUIREMENTS = ("main", "dev", "vision", "training", "bench")
# With brackets for dots, so that this file does not find itself.
REGISTRIES = re.compile(
    "|".join(
        (
            *("pypi[.]org", "pythonhosted[.]org", "repo1?[.]maven", "maven[.]org/maven2", "registry[.]npmjs"),
            *(
                "static[.]crates[.]io",
                "proxy[.]golang",
                "deb[.]debian",
                "(--|extra-|_)index[-_]url +http",
                "registry-1[.]docker",
            ),
        )
    )
)


def tracked() -> list[Path]:
    """The files of the repository, as git knows them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> dict[str, str]:
    """The text files among them, by path from the root."""
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_no_file_names_a_registry() -> None:
    """Which mirror serves a package is each machine's own business."""
    assert [name for name, text in texts().items() if REGISTRIES.search(text)] == []


def test_only_tests_and_ci_read_the_real_material() -> None:
    places = {name for name, text in texts().items() if "../" + "shared" in text or "shared" + "/data" in text}
    assert {name for name in places if not name.startswith(("tests/", ".ci/"))} == set()


def test_no_large_or_secret_files() -> None:
    assert [path for path in tracked() if path.stat().st_size > 1_000_000] == []
    assert [path for path in tracked() if path.name == ".env" or path.suffix in {".pem", ".key", ".mp4", ".pt"}] == []


def test_ci_script_is_executable_bash() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


@cache
def pins(name: str) -> dict[str, str]:
    """Versions by package of one compiled requirements file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_hold_what_pyproject_asks_for(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + (project["optional-dependencies"][name] if name != "main" else [])
    for requirement in map(Requirement, asked):
        if name == "bench" and requirement.name == "confluent-kafka":
            continue  # requirements/bench-override.txt
        pinned = pins(name).get(requirement.name.lower())
        assert pinned is not None, (
            f"{requirement.name}: compile requirements/{name}.txt again (its second line says how)"
        )
        assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement} is pinned to {pinned}"


@pytest.mark.parametrize("name", [*REQUIREMENTS, "uv"])
def test_requirements_have_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_requirements_agree() -> None:
    """One environment holds them all."""
    for first, second in itertools.combinations(("main", "dev", "vision", "training"), 2):
        both = pins(first).keys() & pins(second).keys()
        assert {package for package in both if pins(first)[package] != pins(second)[package]} == set()


def anchors(document: Path) -> set[str]:
    """The fragments that a document's headings give, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, fragment = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), f"{document.name}: {target}"
        if fragment:
            assert fragment in anchors(found), f"{document.name}: {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    """A path in backticks that begins with one of our folders is a file or folder of ours, but for names to fill in."""
    folders = (
        "aisleflow|api|benchmarks|connectors|docs|forecasting|grafana|infra|producers|replenishment|requirements|schemas"
        "|stream_processors|tests|[.]ci"
    )
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text())
    assert [path for path in named if not (ROOT / path).exists() and "/TOPIC" not in path] == []


def commands() -> set[tuple[str, ...]]:
    """Every command of the command line, as the words that call it."""

    def walk(command: object, words: tuple[str, ...]) -> set[tuple[str, ...]]:
        children = getattr(command, "commands", None)
        if children is None:
            return {words}
        # A group may stand for one of its commands (`aisleflow camera CLIP`).
        itself = {words} if hasattr(command, "default") else set()
        return itself.union(*(walk(child, (*words, name)) for name, child in children.items()))

    return walk(typer.main.get_command(app), ())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_commands_exist(document: Path) -> None:
    text = document.read_text()
    known = commands()
    for call in re.findall(r"(?:^|`|bin/)aisleflow ((?:[a-z-]+ ?)+)", text, re.MULTILINE):
        words = call.split()
        assert any(all(a == b for a, b in zip(command, words, strict=False)) for command in known), f"aisleflow {call}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_every_command_explains_itself() -> None:
    for words in commands():
        told = CliRunner().invoke(app, [*words, "--help"])
        assert told.exit_code == 0, told.output
        assert len(re.sub(r"\W+", " ", told.output.split("Options")[0]).split()) > 6, (
            f"aisleflow {' '.join(words)} says too little"
        )
