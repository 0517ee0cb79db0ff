"""`transferkit doctor`: what is wrong with the pictures, before anything is trained."""

import difflib
import os
import re
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from transferkit.cli.options import OfflineOption, SetOption
from transferkit.errors import DataError, RunFolderError

if TYPE_CHECKING:
    from transferkit.doctor.examine import Examination
    from transferkit.doctor.findings import Evidence, Finding
    from transferkit.recipe.recipe import Recipe

_COLOURS = {"blocking": "bold red", "warning": "yellow", "note": "blue"}
_MAX_EXAMPLES = 3
_TABLES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
_INDENT = " " * 9
_MIN_WIDTH, _MAX_WIDTH = 50, 110


def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|FOLDER|TABLE",
            help="A recipe file, a shipped recipe's name, or a folder or table of pictures.",
        ),
    ],
    changes: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for doctor.html and doctor.json; default doctor-<name>.", show_default=False),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what needs a backbone: pictures that look mislabelled.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a finding would spoil the result.")] = False,
    offline: OfflineOption = False,
) -> None:
    """Examine the pictures of a recipe: bad files, duplicates, leakage, labels, classes."""
    from transferkit.bundle.run_folder import atomic_file, write_json
    from transferkit.data.source import find_files
    from transferkit.doctor.examine import examine
    from transferkit.doctor.findings import REPORT, has_blocking
    from transferkit.doctor.page import render_page
    from transferkit.doctor.record import record_of
    from transferkit.progress import ConsoleProgress

    console = Console(soft_wrap=True)
    recipe = _recipe_of(target, changes or ())
    find_files(recipe.data)
    out = out or Path(f"doctor-{recipe.name}")
    _make_folder(out)
    report, page, progress = out / REPORT, (out / REPORT).with_suffix(".html"), ConsoleProgress(console)
    try:
        if not quick:
            _start_engine(recipe)
        examination = examine(recipe, quick=quick, progress=progress)
        html = render_page(examination, json_path=str(report), progress=progress)
    except BaseException:
        with suppress(OSError):  # it has older reports in it
            out.rmdir()
        raise
    edited = _keep_edited(report)
    write_json(report, record_of(examination, json_path=str(report)))
    with atomic_file(page) as file:
        file.write(html)
    _show(examination, console, report=report)
    if edited:
        text = f"{report} had been edited: that list is now {edited}, and {report} is new"
        console.print(text, markup=False, highlight=False)
    _show_end(examination, console, report=report)
    console.print(f"page: {page}", markup=False, highlight=False)
    if strict and has_blocking(examination.findings):
        raise typer.Exit(1)


def _recipe_of(target: str, changes: list[str] | tuple[()]) -> "Recipe":
    """The recipe, or a folder or table with every default.

    Raises:
        DataError: there is no such folder or recipe.
        RecipeError: all faults at once.
    """
    from transferkit.check import check_draft, load_recipe
    from transferkit.recipe.draft import draft_tree
    from transferkit.recipe.overrides import apply_changes
    from transferkit.recipe.yaml_tree import Tree

    path = Path(target).expanduser()
    kind = "folder" if os.path.isdir(path) else _TABLES.get(path.suffix.lower()) if os.path.exists(path) else None
    if not kind:
        _refuse_what_is_neither(target)
        return load_recipe(target, changes)
    plain = path.resolve().name if kind == "folder" else path.stem
    name = re.sub(r"[^\w.-]+", "-", plain)[:100] or "pictures"
    tree = Tree({"name": name, "data": {"source": {kind: target}}})
    apply_changes(tree, changes)
    return check_draft(draft_tree(tree, source=target))


def _refuse_what_is_neither(target: str) -> None:
    """With what was probably meant by a slip of the pen."""
    from transferkit.recipe.shipped import find_recipe, shipped_recipes

    path = Path(target)
    if os.path.exists(find_recipe(target)):
        return
    beside: list[str] = []
    with suppress(OSError, ValueError):
        beside = [one.name for one in path.expanduser().parent.iterdir() if one.is_dir() or one.suffix == ".yaml"]
    near = [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, beside, n=1)]
    near = near or difflib.get_close_matches(target, shipped_recipes(), n=1)
    guess = f"; did you mean {near[0]}?" if near else ""
    raise DataError(
        f"{target}: no such folder or recipe (looked from {Path.cwd()}){guess}\n"
        f"Give a folder of pictures, a recipe file, or a shipped recipe: {', '.join(shipped_recipes())}"
    )


def _start_engine(recipe: "Recipe") -> None:
    from transferkit.cli.quiet import start_engine
    from transferkit.train.runtime import choose_backend

    choose_backend(recipe.runtime.backend)
    start_engine(recipe.runtime)


def _make_folder(out: Path) -> None:
    """Before the long work, so that a folder that cannot be written to is known at once.

    Raises:
        RunFolderError: it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise RunFolderError(f"{out}: {error.strerror}; give another folder for the report with --out.") from error


def _keep_edited(report: Path) -> Path | None:
    """Move a list that was edited by hand out of the way: where to, or `None` if there is none."""
    from transferkit.doctor.record import is_edited

    if not is_edited(report):
        return None
    number, kept = 1, report.with_name(f"{report.stem}-edited.json")
    while kept.exists():
        number += 1
        kept = report.with_name(f"{report.stem}-edited-{number}.json")
    report.rename(kept)
    return kept


def _show(examination: "Examination", console: Console, *, report: Path) -> None:
    """The findings on one screen: what would spoil a result in full, what is merely worth knowing in a line each."""
    from transferkit.doctor.findings import counted, name_report

    statistics = examination.statistics
    splits = ", ".join(f"{count:,} {split}" for split, count in statistics.per_split.items())
    if statistics.num_unused:
        splits += f"; {statistics.num_unused:,} not used"
    pictures = counted(statistics.num_pictures, "picture")
    classes = counted(len(statistics.per_class), "class", "classes")
    console.print(f"{examination.listing.origin}: {pictures} in {classes} ({splits})", markup=False, highlight=False)
    shown_before = ""
    for finding in name_report(examination.findings, str(report)):
        if finding.severity != "note" or shown_before != "note":
            console.print()
        _show_finding(finding, console)
        shown_before = finding.severity
    console.print()


def _show_end(examination: "Examination", console: Console, *, report: Path) -> None:
    """What stands nearest to the prompt: how many findings of each kind, and what may be pasted into a recipe."""
    from transferkit.doctor.advised import recipe_lines
    from transferkit.doctor.findings import SEVERITIES, counted, printable

    if lines := recipe_lines(examination, str(report)):
        console.print("for the recipe's data section, where you agree:", markup=False, highlight=False)
        for line in lines:
            console.print(f"    {printable(line)}", markup=False, highlight=False)
    severities = [finding.severity for finding in examination.findings]
    many = {"blocking": "blocking"}
    numbers = ", ".join(
        counted(severities.count(one), one, many.get(one, "")) for one in SEVERITIES if one in severities
    )
    console.print(f"findings: {numbers or 'none'}", markup=False, highlight=False)


def _show_finding(finding: "Finding", console: Console) -> None:
    from transferkit.doctor.findings import printable

    head = Text(f"{finding.severity:<9}", style=_COLOURS[finding.severity])
    console.print(head.append(printable(finding.title), style="bold" if finding.severity != "note" else "default"))
    if finding.severity == "note":
        return
    _show_indented(printable(finding.meaning), console)
    _show_indented(printable(finding.advice), console)
    for one in finding.pictures[:_MAX_EXAMPLES]:
        _show_indented(_example(one), console, style="dim")
    if (more := len(finding.pictures) - _MAX_EXAMPLES) > 0:
        _show_indented(f"and {more:,} more", console, style="dim")


def _example(one: "Evidence") -> str:
    from transferkit.doctor.findings import printable

    pair = ((one.path, one.note), (one.partner, one.partner_note))
    return " ~ ".join(printable(f"{path}: {note}" if note else path) for path, note in pair if path)


def _show_indented(text: str, console: Console, style: str = "") -> None:
    width = max(_MIN_WIDTH, min(console.width, _MAX_WIDTH))
    indent = {"initial_indent": _INDENT, "subsequent_indent": _INDENT}
    # Paths stay in one piece, to be copied.
    wrapped = textwrap.fill(text, width, break_on_hyphens=False, break_long_words=False, **indent)
    console.print(Text(wrapped, style=style))
