"""`transferkit predict`: a finished run answers for new pictures."""

import csv
import glob
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transferkit.errors import DataError

if TYPE_CHECKING:
    from transferkit.bundle.predictor import Prediction


def predict(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Picture files, folders, or glob patterns.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with every class's probability.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with every class's probability.")] = False,
) -> None:
    """Print the class and probability of pictures."""
    if as_json and as_csv:
        raise DataError("--json and --csv exclude each other; choose one.")
    from transferkit.bundle.finished import load_run, read_run_recipe
    from transferkit.cli.quiet import start_engine
    from transferkit.progress import ConsoleProgress
    from transferkit.train.runtime import choose_backend

    files = _find_files(paths)
    runtime = read_run_recipe(run_dir).runtime
    choose_backend(runtime.backend)
    start_engine(runtime.model_copy(update={"strategy": "single"}))
    # Results go to standard output, progress beside them.
    predictor = load_run(run_dir)
    found = predictor.predict(files, progress=ConsoleProgress(Console(stderr=True)))
    found = [replace(one, path=_as_text(one.path)) for one in found]
    if as_json:
        _print_json(found, multi_label=predictor.multi_label)
    elif as_csv:
        _print_csv(found, predictor.class_names)
    else:
        _print_table(found)
    bad = sum(one.error is not None for one in found)
    if bad == len(found):
        raise DataError("none of these files could be read as a picture")
    if bad and (as_json or as_csv):
        typer.echo(f"{bad} of {len(found)} files got no prediction; see their errors", err=True)


def _as_text(path: str) -> str:
    """Bytes that are no UTF-8 become escapes, as in a run's own tables."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _print_json(found: "Sequence[Prediction]", *, multi_label: bool) -> None:
    def entry(one: "Prediction") -> dict[str, object]:
        if one.error:
            return {"path": one.path, "error": one.error}
        classes = {"classes": list(one.class_names)} if multi_label else {"class": one.class_name}
        return {"path": one.path, **classes, "probabilities": one.probabilities}

    takes_all = (sys.stdout.encoding or "").lower().startswith("utf")
    json.dump([entry(one) for one in found], sys.stdout, indent=2, ensure_ascii=not takes_all, allow_nan=False)
    sys.stdout.write("\n")


def _print_csv(found: "Sequence[Prediction]", class_names: Sequence[str]) -> None:
    from transferkit.bundle.run_folder import SEPARATOR

    writer = csv.writer(sys.stdout)
    writer.writerow(["path", "prediction", "error", *(f"probability {name}" for name in class_names)])
    for one in found:
        values = [f"{one.probabilities[name]:.9g}" if not one.error else "" for name in class_names]
        writer.writerow([one.path, SEPARATOR.join(one.class_names), one.error or "", *values])


def _find_files(paths: list[str]) -> list[Path]:
    """Files by name; all pictures below folders; what patterns match."""
    from transferkit.data.folder_source import picture_files

    files: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found = list(picture_files(path))
        elif path.exists():
            found = [path]
        else:
            matched = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
            found = [file for match in matched for file in (picture_files(match) if match.is_dir() else [match])]
            if not glob.has_magic(text):  # a name without a file is told in its place, beside the others' results
                found = [path]
        if not found:
            raise DataError(f"{text}: no picture there. Give picture files, folders of pictures, or glob patterns.")
        files += found
    return files


def _print_table(found: "Sequence[Prediction]") -> None:
    from transferkit.doctor.findings import printable

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    # On a narrow terminal the longest of the three give way.
    table.add_column("prediction", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("next", overflow="fold")
    table.add_column("picture", overflow="fold")
    good = [one for one in found if not one.error]
    for one in good:
        ranked = sorted(one.probabilities.items(), key=lambda item: -item[1])
        # The likeliest of the classes that were not found.
        following = next((f"{name} {value:.1%}" for name, value in ranked if name not in one.class_names), "")
        names = ", ".join(one.class_names) or "none"
        values = ", ".join(f"{one.probabilities[name]:.1%}" for name in one.class_names)
        table.add_row(Text(names), values, Text(following), Text(printable(one.path)))
    console = Console()
    if not console.is_terminal:
        # In a pipe every picture keeps a line of its own, however long its names are.
        console = Console(width=max(1, console.measure(table, options=console.options.update(width=10**6)).maximum))
    if good:
        console.print(table)
    for one in found:
        if one.error:
            typer.echo(f"{printable(one.path)}: {one.error}")
