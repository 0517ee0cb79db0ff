"""A run's folder: what is in it, written file by file so that none is ever half there."""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from transferkit.data.listing import SPLITS
from transferkit.errors import RunFolderError
from transferkit.recipe.dump import recipe_to_yaml
from transferkit.recipe.recipe import Recipe

if TYPE_CHECKING:
    from transferkit.data.balance import Balance
    from transferkit.data.load import Data
    from transferkit.doctor.findings import Finding
    from transferkit.evaluate.evaluate import Evaluation

RECIPE, CLASSES, MODEL, RESULTS = "recipe.yaml", "classes.txt", "model.keras", "results.json"
THRESHOLDS, CHECKPOINTS = "thresholds.csv", "checkpoints"
# Between the classes of one picture.
SEPARATOR = ";"


def choose_run_dir(name: str, now: datetime) -> Path:
    """`runs/<name>-<date>-<time>`, with a number behind it where that is taken."""
    stem = Path("runs", f"{name}-{now:%Y%m%d-%H%M%S}")
    number, path = 1, stem
    while path.exists():
        number += 1
        path = stem.with_name(f"{stem.name}-{number}")
    return path


def remove_run_dir(path: Path) -> None:
    """Remove a run folder that this run made."""
    with suppress(OSError):
        clear_run_dir(path)
    shutil.rmtree(path, ignore_errors=True)


def clear_run_dir(path: Path, keep: Iterable[str] = ()) -> None:
    """Remove what a run wrote, but its recipe and `keep`: where that is cut short, an unfinished run is left.

    Raises:
        OSError: something cannot be removed.
    """
    # Results make a run a finished one; without its checkpoints it begins anew with the data as it is then.
    for entry in sorted(path.iterdir(), key=lambda entry: (entry.name != RESULTS, entry.name != CHECKPOINTS)):
        if entry.name in (RECIPE, *keep):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file that appears under its name only when it is complete.

    Raises:
        RunFolderError: it cannot be written. Nothing half written stays.
    """
    text = {"encoding": "utf-8", "newline": ""} if "b" not in mode else {}
    with _appearing(path, partial_name(path)) as partial, partial.open(mode, **text) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def partial_name(path: Path) -> Path:
    """Where `atomic_file` writes until the file is complete."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def _appearing(path: Path, partial: Path) -> Iterator[Path]:
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise RunFolderError(f"{path} cannot be written: {reason}. Make room there, or allow writing.") from error
        raise


def write_recipe(run_dir: Path, recipe: Recipe) -> None:
    with atomic_file(run_dir / RECIPE) as file:
        file.write("# The recipe of this run, every default written out.\n" + recipe_to_yaml(recipe))


def write_json(path: Path, value: object) -> None:
    with atomic_file(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_data(run_dir: Path, data: "Data") -> None:
    """classes.txt, the split manifest and the list of pictures that were left out."""
    with atomic_file(run_dir / CLASSES) as file:
        file.writelines(f"{name}\n" for name in data.class_names)
    rows = (
        (data.paths[row], SEPARATOR.join(data.classes_of(row)), split) for split in SPLITS for row in data.rows[split]
    )
    _write_csv(run_dir / "splits.csv", ("path", "label", "split"), rows)
    _write_csv(run_dir / "skipped.csv", ("path", "reason"), ((one.path, one.reason) for one in data.skipped))


def write_findings(run_dir: Path, findings: Sequence["Finding"]) -> None:
    """data_findings.json: what the data showed before training, with the pictures."""
    write_json(run_dir / "data_findings.json", [asdict(finding) for finding in findings])


def write_balance(run_dir: Path, balance: "Balance") -> None:
    """class_weights.csv: what each class counts in training; none where every picture counts the same."""
    if balance.classes:
        rows = ((one.name, one.num_pictures, f"{one.weight:.9g}", f"{one.times:.9g}") for one in balance.classes)
        _write_csv(run_dir / "class_weights.csv", ("class", "pictures", "weight", "times per epoch"), rows)


def write_history(run_dir: Path, epochs: Sequence[Any]) -> None:
    """history.csv: one row per epoch, from dataclass values."""
    if epochs:
        names = tuple(field.name for field in fields(epochs[0]))
        _write_csv(run_dir / "history.csv", names, (asdict(epoch).values() for epoch in epochs))


def write_watch(run_dir: Path, epochs: Sequence[Any]) -> None:
    """watch.csv: one row per epoch, from dataclass values; what is given by stage in a column for each."""
    rows = []
    for epoch in epochs:
        row = {}
        for name, value in asdict(epoch).items():
            by_stage = value if isinstance(value, Mapping) else None
            row |= (
                {f"{name} {stage}": one for stage, one in by_stage.items()} if by_stage is not None else {name: value}
            )
        rows.append(row)
    names = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: name if " " in name else "")
    if rows:
        _write_csv(run_dir / "watch.csv", names, ([row.get(name, "") for name in names] for row in rows))


def write_predictions(run_dir: Path, data: "Data", found: "Evaluation") -> None:
    """predictions.csv: each reported picture with its label, the prediction, and every class's probability.

    And thresholds.csv where a picture may have any number of classes, each found from its threshold on.
    """
    from transferkit.evaluate.thresholds import name_found

    header = ("path", "split", "label", "prediction", *(f"probability {name}" for name in data.class_names))
    rows = (
        (
            data.paths[row],
            split,
            SEPARATOR.join(data.classes_of(row)),
            SEPARATOR.join(name_found(values, data.class_names, found.thresholds)),
            *(f"{value:.9g}" for value in values),
        )
        for split, table in found.probabilities.items()
        for row, values in zip(data.rows[split], table, strict=True)
    )
    _write_csv(run_dir / "predictions.csv", header, rows)
    if found.thresholds is not None:
        thresholds = zip(data.class_names, map(repr, found.thresholds.tolist()), strict=True)
        _write_csv(run_dir / THRESHOLDS, ("class", "threshold"), thresholds)


def read_thresholds(run_dir: Path) -> list[float] | None:
    """By class, in label order; `None` where training ended before they were chosen."""
    try:
        with open(run_dir / THRESHOLDS, encoding="utf-8", newline="") as file:
            return [float(row["threshold"]) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return None


def write_results(run_dir: Path, found: "Evaluation") -> None:
    """results.json: each reported split's numbers. Written last, it makes the run a finished one."""
    from transferkit.evaluate.metrics import report_to_dict  # a second of imports, not wanted for a refusal

    write_json(run_dir / RESULTS, {split: report_to_dict(one) for split, one in found.reports.items()})


def write_model(run_dir: Path, model: Any) -> None:
    """model.keras, which Keras alone can load."""
    with _appearing(run_dir / MODEL, run_dir / f".partial.{MODEL}") as partial:  # Keras goes by the suffix
        model.save(partial)


def write_figures(run_dir: Path, figures: Mapping[str, Any]) -> None:
    """PNG files from figures by file name."""
    for name, figure in figures.items():
        with atomic_file(run_dir / name, "wb") as file:
            figure.savefig(file, format="png", dpi=120)


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with atomic_file(path) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
