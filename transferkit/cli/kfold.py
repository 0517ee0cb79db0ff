"""`transferkit finetune --kfold N`: all folds one after the other, and what they come to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import with_changes
from transferkit.download.file import is_offline
from transferkit.progress import ConsoleProgress
from transferkit.stop import PREEMPTED, Preempted

if TYPE_CHECKING:
    from transferkit.finetuner import FineTuner
    from transferkit.studies.kfold import KFold

# Heads of the table, and whether a number is shown as a share of 100.
_HEADS = {
    "accuracy": ("accuracy", True),
    "balanced_accuracy": ("balanced", True),
    "mean_average_precision": ("mAP", False),
    "macro_f1": ("F1", False),
    "log_loss": ("loss", False),
}


def finetune_folds(
    tuner: "FineTuner",
    count: int,
    *,
    name: str,
    changes: Sequence[str],
    run_dir: Path | None,
    overwrite: bool,
    resume: bool,
    console: Console,
) -> None:
    """Run all folds and print a table.

    Args:
        name, changes: the recipe, as the command line has it.
    """
    from transferkit.cli.app import INTERRUPTED
    from transferkit.cli.quiet import start_engine
    from transferkit.studies.kfold import check_folders, choose_folder, run_folds
    from transferkit.train.runtime import choose_backend

    folder = run_dir or choose_folder(tuner, count, resume=resume)
    check_folders(tuner, count, folder, overwrite=overwrite, resume=resume)
    command = ["transferkit", "finetune", name, "--kfold", str(count), "--run-dir", str(folder), "--resume"]
    command += ["--offline"] if is_offline(os.environ) else []
    go_on = f"go on with:\n  {with_changes(command, changes)}"
    choose_backend(tuner.recipe.runtime.backend)
    start_engine(tuner.recipe.runtime)
    try:
        progress = ConsoleProgress(console)
        result = run_folds(tuner, count, folder, overwrite=overwrite, resume=resume, progress=progress)
    except KeyboardInterrupt:
        console.print(f"interrupted; {go_on}", markup=False, highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    except Preempted as stopped:
        console.print(f"{stopped}; {go_on}", markup=False, highlight=False)
        raise typer.Exit(PREEMPTED) from None
    console.print(_table(result))
    console.print(f"folder of the folds: {result.run_dir}", markup=False, highlight=False)


def _table(result: "KFold") -> Table:
    title = "results on the part that each fold tests, with their standard deviation (sd)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    table.add_column("fold", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    for name in result.together:
        table.add_column(_HEADS[name][0], justify="right", no_wrap=True)
    for number, (images, fold) in enumerate(zip(result.num_images, result.folds, strict=True), start=1):
        table.add_row(str(number), str(images), *(_text(name, value) for name, value in fold.items()))
    mean, spread = result.mean, result.standard_deviation
    both = [f"{_text(name, mean[name])} ± {_text(name, spread[name])}" for name in result.together]
    table.add_row("mean ± sd", "", *both)
    together = [_text(name, value) for name, value in result.together.items()]
    table.add_row("together", str(sum(result.num_images)), *together)
    return table


def _text(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if _HEADS[name][1] else f"{value:.3f}"
