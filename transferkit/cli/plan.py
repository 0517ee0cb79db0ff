"""`transferkit plan`: what a run would do."""

from typing import Annotated

import typer

from transferkit.cli.options import OfflineOption, RecipeArgument, SetOption


def plan(
    recipe: RecipeArgument,
    changes: SetOption = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a few steps of each phase on this machine.")] = False,
    offline: OfflineOption = False,
) -> None:
    """Print phases, what trains in them, steps and rates, without training."""
    from transferkit.cli.quiet import start_engine
    from transferkit.data.source import find_files
    from transferkit.finetuner import FineTuner
    from transferkit.train.runtime import choose_backend

    tuner = FineTuner.from_recipe(recipe, changes or ())
    find_files(tuner.recipe.data)
    choose_backend(tuner.recipe.runtime.backend)
    start_engine(tuner.recipe.runtime)
    typer.echo(tuner.plan(measure=measure))
