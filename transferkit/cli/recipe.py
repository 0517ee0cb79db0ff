"""`transferkit recipe`: look at recipes."""

import typer

from transferkit.cli.options import RecipeArgument, SetOption

app = typer.Typer(help="Look at recipes.", no_args_is_help=True)


@app.command("show")
def show(recipe: RecipeArgument, changes: SetOption = None) -> None:
    """Print a recipe with every default written out."""
    from transferkit.check import load_recipe
    from transferkit.recipe.dump import recipe_to_yaml
    from transferkit.recipe.shipped import find_recipe

    typer.echo(recipe_to_yaml(load_recipe(find_recipe(recipe), changes or ())), nl=False)


@app.command("list")
def list_recipes() -> None:
    """Print the shipped recipes and where they are."""
    from transferkit.recipe.shipped import shipped_recipes

    for name, path in shipped_recipes().items():
        typer.echo(f"{name:<14} {path}")
