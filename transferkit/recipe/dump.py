"""A recipe as YAML, every default written out."""

import io

from ruamel.yaml import YAML

from transferkit.recipe.recipe import Recipe


def recipe_to_yaml(recipe: Recipe) -> str:
    """Text that loads to the same recipe."""
    yaml = YAML(typ="rt", pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 110
    text = io.StringIO()
    yaml.dump(recipe.model_dump(mode="json"), text)
    return text.getvalue()
