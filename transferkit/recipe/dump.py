"""A recipe as YAML, every default written out."""

import io

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from transferkit.recipe.recipe import Recipe


class _Representer(RoundTripRepresenter):
    def represent_none(self, _: None) -> ScalarNode:
        # ruamel's own is an empty place, which looks like a value forgotten.
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def recipe_to_yaml(recipe: Recipe) -> str:
    """Text that loads to the same recipe."""
    yaml = YAML(typ="rt", pure=True)
    yaml.Representer = _Representer
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 2**16  # one line for each value
    text = io.StringIO()
    yaml.dump(recipe.model_dump(mode="json"), text)
    return text.getvalue()
