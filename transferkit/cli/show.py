"""`transferkit show`: look at the pictures as the model receives them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transferkit.cli.options import OfflineOption, RecipeArgument, SetOption


def show(
    recipe: RecipeArgument,
    changes: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG to write; default <name>-pictures.png.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=20, help="How many pictures.")] = 8,
    offline: OfflineOption = False,
) -> None:
    """Write a contact sheet: training pictures before and after each augmentation."""
    from transferkit.bundle.run_folder import atomic_file
    from transferkit.check import load_recipe
    from transferkit.cli.quiet import start_engine
    from transferkit.data.source import find_files, list_source
    from transferkit.progress import ConsoleProgress
    from transferkit.train.runtime import choose_backend

    checked = load_recipe(recipe, changes or ())
    find_files(checked.data)
    listing = list_source(checked.data, multi_label=checked.multi_label)
    choose_backend(checked.runtime.backend)
    start_engine(checked.runtime.model_copy(update={"strategy": "single"}))
    from transferkit.report.look import look_at

    # The path goes to standard output, progress beside it.
    progress = ConsoleProgress(Console(stderr=True, soft_wrap=True))
    figure = look_at(checked, listing, count=count, progress=progress)
    file = out or Path(f"{checked.name}-pictures.png")
    with atomic_file(file, "wb") as stream:
        figure.savefig(stream, format="png")
    typer.echo(file)
