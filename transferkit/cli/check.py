"""`transferkit check`: is the recipe sound?"""

import typer

from transferkit.cli.options import RecipeArgument, SetOption


def check(recipe: RecipeArgument, changes: SetOption = None) -> None:
    """Check a recipe; touches no data, weights or device."""
    from transferkit.check import load_recipe, warnings_for
    from transferkit.recipe.shipped import find_recipe

    path = find_recipe(recipe)
    checked = load_recipe(path, changes or ())
    for warning in warnings_for(checked):
        typer.echo(f"warning: {warning}", err=True)
    phases = "1 phase" if len(checked.phases) == 1 else f"{len(checked.phases)} phases"
    typer.echo(f"{path}: no problems ({checked.model.backbone}, {phases})")
