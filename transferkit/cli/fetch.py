"""`transferkit fetch`: data and weights ahead, for a machine without network."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.cli.options import RecipeArgument, SetOption, with_changes


def fetch(
    recipe: RecipeArgument,
    changes: SetOption = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to fill; default TRANSFERKIT_HOME, or ~/.cache/transferkit.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download what a recipe needs into one folder, which a machine without network can use."""
    from transferkit.check import load_recipe
    from transferkit.fetch import fetch as fetch_recipe
    from transferkit.progress import ConsoleProgress

    progress = ConsoleProgress(Console(soft_wrap=True))
    try:
        folder = fetch_recipe(load_recipe(recipe, changes or ()), folder=to, progress=progress)
    except KeyboardInterrupt:
        progress.say("What has come stays; the same command goes on with it.")
        raise
    command = with_changes(["transferkit", "finetune", recipe], changes or ())
    progress.say(
        f"All is there. On a machine without network, with a copy of {folder}:\n"
        f"  TRANSFERKIT_HOME={shlex.quote(str(folder))} {command} --offline"
    )
