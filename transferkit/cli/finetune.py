"""`transferkit finetune`: the main job."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from transferkit.cli.options import OfflineOption, RecipeArgument, SetOption
from transferkit.errors import Problem, RecipeError, RuntimeSetupError
from transferkit.train.cluster import find_cluster, spans_processes

if TYPE_CHECKING:
    from transferkit.evaluate.evaluate import Report
    from transferkit.finetuner import FineTuner
    from transferkit.recipe.runtime import RuntimeSpec


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
    fold: Annotated[
        str | None,
        typer.Option(metavar="I/K", help="Test on part I of K and train on the others.", show_default=False),
    ] = None,
    kfold: Annotated[
        int | None,
        typer.Option("--kfold", metavar="K", min=2, help="Run all K folds, with mean and spread.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Run as several processes on this machine, to try what several machines would do.",
            show_default=False,
        ),
    ] = None,
    offline: OfflineOption = False,
) -> None:
    """Fine-tune as a recipe says, evaluate, and write a run folder."""
    from transferkit.bundle.opening import default_run_dir
    from transferkit.bundle.unfinished import check_run_dir
    from transferkit.cli.app import INTERRUPTED
    from transferkit.cli.go_on import how_to_go_on
    from transferkit.cli.kfold import finetune_folds
    from transferkit.cli.quiet import start_engine
    from transferkit.cli.workers import run_workers
    from transferkit.data.source import find_files
    from transferkit.finetuner import FineTuner
    from transferkit.progress import ConsoleProgress
    from transferkit.stop import PREEMPTED, Preempted
    from transferkit.train.runtime import choose_backend

    console = Console(soft_wrap=True)
    if kfold:
        if fold:
            raise RecipeError("--kfold", [Problem("--fold", fold, "is one fold, and --kfold runs all")])
        # The recipe as its first fold has it, since it need not hold back a test split of its own.
        tuner = _with_fold(recipe, changes or (), f"1/{kfold}", option="--kfold")
    elif fold:
        tuner = _with_fold(recipe, changes or (), fold, option="--fold")
    else:
        tuner = FineTuner.from_recipe(recipe, changes or ())
    changes = [*(changes or ()), *([f"data.split.fold={fold}"] if fold else [])]
    runtime = tuner.recipe.runtime
    find_files(tuner.recipe.data)
    if kfold:
        _refuse_several_processes(runtime, workers)
        where = {"run_dir": run_dir, "overwrite": overwrite, "resume": resume}
        finetune_folds(tuner, kfold, name=recipe, changes=changes, console=console, **where)
        return
    if workers:
        raise typer.Exit(run_workers(workers, [*sys.argv[1:], *_for_workers(runtime)]))
    cluster = find_cluster(os.environ, strategy=runtime.strategy, backend=runtime.backend)
    if not cluster:  # of several processes the chief looks, once the others can hear what it finds
        folder = run_dir or default_run_dir(tuner.recipe, resume=resume)
        check_run_dir(folder, recipe=tuner.recipe, overwrite=overwrite, resume=resume)
    try:
        choose_backend(runtime.backend)
        start_engine(runtime)
        result = tuner.run(run_dir, overwrite=overwrite, resume=resume, progress=ConsoleProgress(console))
    except KeyboardInterrupt:  # before training, or a second time while the run folder was being written
        _say(console, f"interrupted; {how_to_go_on(tuner.recipe, recipe, changes, run_dir)}")
        raise typer.Exit(INTERRUPTED) from None
    except Preempted as stopped:
        _say(console, f"{stopped}; {how_to_go_on(tuner.recipe, recipe, changes, run_dir)}")
        raise typer.Exit(PREEMPTED) from None
    if result.interrupted:
        reached = f"after {len(result.history)} whole epochs" if result.history else "in the first epoch"
        kept = f"; the model of epoch {result.best.epoch} is in {result.run_dir}" if result.best else ""
        go_on = how_to_go_on(tuner.recipe, recipe, changes, run_dir)
        _say(console, f"interrupted {reached}{kept}; {go_on}")
        raise typer.Exit(INTERRUPTED)
    if cluster and not cluster.is_chief:
        return
    console.print(_results_table(result.report))
    _say(console, f"model of epoch {result.best.epoch}, the best on validation")
    _say(console, f"run folder: {result.run_dir}")


def _with_fold(recipe: str, changes: Sequence[str], fold: str, *, option: str) -> "FineTuner":
    """A fold's own, whose problems are told of under the option that chose it."""
    from transferkit.finetuner import FineTuner

    try:
        return FineTuner.from_recipe(recipe, [*changes, f"data.split.fold={fold}"])
    except RecipeError as error:
        problems = [replace(one, where=option) if one.path == "data.split.fold" else one for one in error.problems]
        raise RecipeError(error.source, problems) from None


def _refuse_several_processes(runtime: "RuntimeSpec", workers: int | None) -> None:
    if workers or find_cluster(os.environ, strategy=runtime.strategy, backend=runtime.backend):
        raise RuntimeSetupError(
            "--kfold runs all folds in one process. With several processes run fold by fold: --fold 1/5, --fold 2/5, …"
        )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _for_workers(runtime: "RuntimeSpec") -> list[str]:
    """What the command needs besides, to run as several processes.

    Raises:
        RuntimeSetupError: the recipe asks for one process.
    """
    if spans_processes(strategy=runtime.strategy, backend=runtime.backend) and runtime.strategy != "tpu":
        return []
    needed = "multi_worker" if runtime.backend == "tensorflow" else "data_parallel"
    if runtime.strategy == "auto":
        return ["--set", f"runtime.strategy={needed}"]
    raise RuntimeSetupError(
        f"--workers divides a run among several processes on this machine, and runtime.strategy is {runtime.strategy}, "
        f"which is not for that.\nSet runtime.strategy: {needed} (or auto), or leave out --workers."
    )


def _results_table(report: "Mapping[str, Report]") -> Table:
    from transferkit.report.table import table_row

    table = Table(title="results", title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    rows = [{"split": split, **table_row(one)} for split, one in report.items()]
    heads = [head for head in rows[0] if any(row[head] for row in rows)] if rows else []
    for head in heads:
        table.add_column(head, justify="left" if head == "split" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[head] for head in heads))
    return table
