"""`transferkit finetune`: the main job."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import RecipeArgument, SetOption

if TYPE_CHECKING:
    from transferkit.evaluate.metrics import EvalReport


def finetune(
    recipe: RecipeArgument,
    changes: SetOption = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/<name>-<date>-<time>.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is already there.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run: --run-dir's, or the newest of this recipe.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Try several processes on this machine (runtime.strategy: multi_worker).", show_default=False
        ),
    ] = None,
) -> None:
    """Fine-tune as a recipe says, evaluate, and write a run folder."""
    from transferkit.cli.app import INTERRUPTED
    from transferkit.cli.quiet import start_engine
    from transferkit.finetuner import FineTuner
    from transferkit.progress import ConsoleProgress
    from transferkit.train.runtime import choose_backend

    console = Console(soft_wrap=True)
    try:
        tuner = FineTuner.from_recipe(recipe, changes or ())
        choose_backend(tuner.recipe.runtime.backend)
        start_engine(tuner.recipe.runtime)
        result = tuner.run(run_dir, overwrite=overwrite, resume=resume, progress=ConsoleProgress(console))
    except KeyboardInterrupt:  # before training, or a second time while the run folder was being written
        console.print("interrupted; there is no finished run", highlight=False)
        raise typer.Exit(INTERRUPTED) from None
    if result.interrupted:
        reached = f"after {len(result.history)} whole epochs; " if result.history else "in the first epoch; "
        kept = f"the model of epoch {result.best.epoch} is in {result.run_dir}" if result.best else "nothing is trained"
        console.print(f"interrupted {reached}{kept}", markup=False, highlight=False)
        raise typer.Exit(INTERRUPTED)
    console.print(_results_table(result.report))
    console.print(f"model of epoch {result.best.epoch}, the best on validation", highlight=False)
    console.print(f"run folder: {result.run_dir}", markup=False, highlight=False)


def _results_table(report: "Mapping[str, EvalReport]") -> Table:
    table = Table(title="results", title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    # Short enough for a terminal of 80 columns; results.json has the full names.
    heads = ("split", "images", "accuracy", "balanced", "top 5", "F1", "loss", "AUC", "majority")
    for head in heads:
        table.add_column(head, justify="left" if head == "split" else "right", no_wrap=True)
    for split, one in report.items():
        table.add_row(
            split,
            str(one.num_images),
            f"{one.accuracy:.1%}",
            f"{one.balanced_accuracy:.1%}",
            "" if one.top5_accuracy is None else f"{one.top5_accuracy:.1%}",
            f"{one.macro_average.f1:.3f}",
            f"{one.log_loss:.3f}",
            "" if one.roc_auc is None else f"{one.roc_auc:.3f}",
            f"{one.majority_baseline.accuracy:.1%}",
        )
    return table
