"""k-fold cross-validation: one run for each part of the pictures, which tests on it and trains on the others."""

import copy
import csv
import gc
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from transferkit.bundle.run_folder import RECIPE, RESULTS, atomic_file, choose_run_dir, write_json
from transferkit.bundle.unfinished import check_run_dir, is_unfinished, recipe_differences
from transferkit.check import check_draft
from transferkit.data.source import list_source
from transferkit.errors import RunFolderError
from transferkit.finetuner import FineTuner
from transferkit.progress import ConsoleProgress, Progress
from transferkit.recipe.draft import draft_values
from transferkit.studies.once import OnceInAllRuns
from transferkit.studies.parts import check_parts, refuse_another_part, refuse_shared_pictures

RESULT_FILES: Final = ("kfold.json", "kfold.csv")
# What is compared, and where results.json has it; pictures of one class and of several have different ones.
METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "accuracy": ("accuracy",),
    "balanced_accuracy": ("balanced_accuracy",),
    "mean_average_precision": ("mean_average_precision",),
    "macro_f1": ("macro_average", "f1"),
    "log_loss": ("log_loss",),
}


@dataclass(frozen=True)
class KFold:
    """Results on the parts, each of which tested the run that did not train on it.

    Args:
        num_images: of each part.
        folds: for each part the metrics by name; `None` where one is not defined on it.
        together: the metrics over the predictions of all parts; every picture is in it once.
    """

    run_dir: Path
    num_images: tuple[int, ...]
    folds: tuple[Mapping[str, float | None], ...]
    together: Mapping[str, float | None]

    @property
    def mean(self) -> dict[str, float | None]:
        """Over the parts, each counting the same."""
        return {name: fmean(values) if values else None for name, values in self._by_name().items()}

    @property
    def standard_deviation(self) -> dict[str, float | None]:
        """Of the sample: from part to part, not of the mean."""
        return {name: stdev(values) if len(values) > 1 else None for name, values in self._by_name().items()}

    def _by_name(self) -> dict[str, list[float]]:
        return {name: [fold[name] for fold in self.folds if fold[name] is not None] for name in self.together}


def run_folds(
    tuner: FineTuner,
    count: int,
    run_dir: Path | str | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> KFold:
    """Run the recipe once for each of `count` parts, into `run_dir/fold-1`, `run_dir/fold-2`, …

    Each is a whole run folder. Prepared pictures and the features of frozen stages are shared through the stores, so
    the folds after the first compute only what the first did not need. kfold.json and kfold.csv are written at the
    end.

    Args:
        count: two or more.
        run_dir: default: `choose_folder`'s.
        overwrite: replace runs that are already there.
        resume: go on with what is there; folds that are finished are not run again.

    Raises:
        RecipeError: the recipe cannot be run in folds.
        DataError: there are too few pictures for so many folds.
        RunFolderError: finished folds that neither `resume` nor `overwrite` allows for, or those of another recipe, or
            that tested other pictures than they would today.
        KeyboardInterrupt: a person ended it; what is done stays.
        TransferkitError: as `FineTuner.run`.
    """
    told = OnceInAllRuns(progress or ConsoleProgress())
    tuners = [_of_fold(tuner, number, count) for number in range(1, count + 1)]
    run_dir = Path(run_dir) if run_dir else choose_folder(tuner, count, resume=resume)
    folders = _folders(run_dir, count)
    done = _finished(tuners, folders, overwrite=overwrite, resume=resume)
    with told.in_log():
        listing = list_source(tuner.recipe.data, multi_label=tuner.recipe.multi_label, arrays=tuner.arrays)
        if note := check_parts(tuners, listing):
            told.say(note)
        numbered = list(zip(range(1, count + 1), tuners, folders, strict=True))
        for number, one, folder in (fold for fold in numbered if fold[2] in done):
            told.say(f"fold {number} of {count} is finished: {folder}")
            if len(done) < count:
                told.begin_run()
                refuse_another_part(one, folder, listing, told)
        for name in RESULT_FILES:
            (run_dir / name).unlink(missing_ok=True)
        for number, one, folder in (fold for fold in numbered if fold[2] not in done):
            told.say(f"fold {number} of {count}")
            told.begin_run()
            if one.run(folder, overwrite=overwrite, progress=told).interrupted:
                raise KeyboardInterrupt
            _let_go_of_the_network()
    result = _collect(run_dir, folders)
    _write(result)
    return result


def check_folders(tuner: FineTuner, count: int, run_dir: Path, *, overwrite: bool, resume: bool) -> None:
    """What would make `run_folds` refuse at once, as far as it can be told without looking at any picture.

    Raises:
        RecipeError, RunFolderError: as there.
    """
    numbers = range(1, count + 1)
    tuners, folders = [_of_fold(tuner, number, count) for number in numbers], _folders(run_dir, count)
    _finished(tuners, folders, overwrite=overwrite, resume=resume)


def _of_fold(tuner: FineTuner, number: int, count: int) -> FineTuner:
    values: dict[str, Any] = tuner.recipe.model_dump(mode="json")
    values["data"]["split"]["fold"] = f"{number}/{count}"
    values["evaluate"] = list(dict.fromkeys((*values["evaluate"], "test")))
    fold = copy.copy(tuner)
    fold.recipe = check_draft(draft_values(values, source=f"{tuner.recipe.name}, fold {number} of {count}"))
    return fold


def choose_folder(tuner: FineTuner, count: int, *, resume: bool) -> Path:
    """Where folds go: `runs/<name>-<date>-<time>`; with `resume` the newest unfinished folds of the same recipe.

    Raises:
        RunFolderError: there are none to go on with.
    """
    if not resume:
        return choose_run_dir(tuner.recipe.name, datetime.now())
    recipe = _of_fold(tuner, 1, count).recipe
    started = [path.parent for path in Path("runs").glob("*/fold-1") if not recipe_differences(path, recipe)]
    unfinished = [path for path in started if not (path / RESULT_FILES[0]).exists()]
    if not unfinished:
        raise RunFolderError(
            f"runs/ holds no unfinished {count}-fold run of this recipe, every setting the same.\n"
            "Name its folder with --run-dir, or leave out --resume to begin a new one."
        )
    return max(unfinished, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _folders(run_dir: Path, count: int) -> list[Path]:
    """The folder of each fold.

    Raises:
        RunFolderError: what is there is of one run, or of more folds.
    """
    folders = [run_dir / f"fold-{number}" for number in range(1, count + 1)]
    found = sorted(run_dir.glob("fold-*/")) if os.path.isdir(run_dir) else []
    others = [path for path in found if path not in folders and re.fullmatch(r"fold-[1-9]\d*", path.name)]
    if os.path.exists(run_dir / RECIPE) or others:
        what = f"{others[0].name}, and so more than {count} folds" if others else "a single run"
        raise RunFolderError(f"{run_dir} holds {what}; it is left alone. Name another --run-dir.")
    return folders


def _finished(
    tuners: Sequence[FineTuner], folders: Sequence[Path], *, overwrite: bool, resume: bool
) -> frozenset[Path]:
    """Folders of runs that need not run again; what is wrong with any of them shows before the first run begins."""
    finished = set()
    for one, folder in zip(tuners, folders, strict=True):
        is_finished = os.path.exists(folder / RESULTS)  # False where looking is not allowed, which is told below
        if is_finished and not overwrite and not resume:
            raise RunFolderError(
                f"{folder} holds a finished run.\nAdd --resume to keep it and run the other folds, or --overwrite to "
                "run it again, or name another --run-dir."
            )
        if not is_finished or not resume:
            check_run_dir(folder, recipe=one.recipe, overwrite=overwrite, resume=resume and is_unfinished(folder))
        elif overwrite:
            raise RunFolderError("--overwrite replaces runs and --resume goes on with them; choose one.")
        elif differences := recipe_differences(folder, one.recipe):
            shown = "\n".join(f"  {line}" for line in differences)
            raise RunFolderError(
                f"the run in {folder} is of another recipe:\n{shown}\nName another --run-dir, or give --overwrite."
            )
        else:
            finished.add(folder)
    return frozenset(finished)


def _let_go_of_the_network() -> None:
    """Keras keeps names and functions of every network that it ever built."""
    import keras

    keras.backend.clear_session()
    gc.collect()


def _collect(run_dir: Path, folders: Sequence[Path]) -> KFold:
    from transferkit.studies.pooled import pool_predictions  # a second of imports, not wanted for a refusal

    refuse_shared_pictures(folders)
    reports = [json.loads((folder / RESULTS).read_text(encoding="utf-8"))["test"] for folder in folders]
    together = pool_predictions([(folder, report) for folder, report in zip(folders, reports, strict=True)])
    names = [name for name, path in METRICS.items() if path[0] in reports[0]]
    return KFold(
        run_dir=run_dir,
        num_images=tuple(report["num_images"] for report in reports),
        folds=tuple({name: _value(report, METRICS[name]) for name in names} for report in reports),
        together={name: _value(together, METRICS[name]) for name in names},
    )


def _value(report: Any, path: Sequence[str]) -> float | None:
    for key in path:
        report = report[key]
    return report


def _write(result: KFold) -> None:
    metrics = {
        name: {
            "mean": result.mean[name],
            "standard_deviation": result.standard_deviation[name],
            "together": result.together[name],
            "folds": [fold[name] for fold in result.folds],
        }
        for name in result.together
    }
    as_json, as_csv = (result.run_dir / name for name in RESULT_FILES)
    with atomic_file(as_csv) as file:
        writer = csv.writer(file)
        writer.writerow(("fold", "images", *result.together))
        for number, (images, fold) in enumerate(zip(result.num_images, result.folds, strict=True), start=1):
            writer.writerow((number, images, *fold.values()))
        writer.writerow(("mean", "", *result.mean.values()))
        writer.writerow(("standard deviation", "", *result.standard_deviation.values()))
        writer.writerow(("together", sum(result.num_images), *result.together.values()))
    write_json(as_json, {"folds": len(result.folds), "num_images": list(result.num_images), "metrics": metrics})
