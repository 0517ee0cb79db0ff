"""Recipes broken at random are still nothing but a recipe or a list of problems."""

import copy
import random

from transferkit.check import check_draft, load_recipe
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_values
from transferkit.recipe.dump import recipe_to_yaml
from transferkit.recipe.shipped import shipped_recipes
from transferkit.recipe.yaml_tree import parse_yaml

ODD_VALUES = (
    None, True, -1, 0, 2.5, 10**400, float("nan"), float("inf"), "", "head", "3", "none", "jax", "x" * 200, b"x",
    [], {}, [None], [[]], {"a": 1}, {"kind": "flip"}, {"name": "sgd"}, {"rotate": None}, {"last_stages": {}},
)  # fmt: skip
ODD_KEYS = ("kind", "name", "data", "train", "rotate", "checkpoint", "degrees", "", "a.b", "[0]", "tfds", "cosine")


def places(data, path=()):
    """The path of every node below the root."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def node_at(data, path):
    for part in path:
        data = data[part]
    return data


def mutate(data, draw):
    """Delete, replace, move, rename, repeat or extend one node."""
    path = draw.choice(list(places(data)))
    parent, key = node_at(data, path[:-1]), path[-1]
    change = draw.randrange(6)
    if change == 0:
        del parent[key]
    elif change == 1:
        parent[key] = copy.deepcopy(draw.choice(ODD_VALUES))
    elif change == 2:
        parent[key] = copy.deepcopy(node_at(data, draw.choice(list(places(data)))))
    elif change == 3 and isinstance(parent, dict):
        parent[draw.choice([f"{key}x", str(key)[1:], *ODD_KEYS])] = parent.pop(key)
    elif change == 4 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(parent[key]))
    elif change == 5 and isinstance(parent[key], dict):
        parent[key][draw.choice(ODD_KEYS)] = copy.deepcopy(draw.choice(ODD_VALUES))


def test_any_mutation_of_a_recipe_is_a_recipe_or_a_list_of_problems():
    written = [parse_yaml(path.read_text()).data for path in shipped_recipes().values()]
    resolved = [parse_yaml(recipe_to_yaml(load_recipe(path))).data for path in shipped_recipes().values()]
    refused = 0

    for seed in range(250):
        draw = random.Random(seed)
        data = copy.deepcopy(draw.choice(written + resolved))
        for _ in range(draw.choice([1, 1, 2, 4])):
            mutate(data, draw)
        draft = draft_values(data, source="mutation")
        assert draft.recipe is not None, data
        try:
            check_draft(draft)
        except RecipeError:
            refused += 1

    assert 120 < refused < 250
