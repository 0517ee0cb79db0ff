"""A sound recipe to break, and what transferkit says about it then."""

import pytest

from transferkit.check import load_recipe
from transferkit.errors import RecipeError

BASE = """\
name: base
seed: 0
data:
  source: {sample: clipart}
  split: {validation: 0.2, test: 0.2}
  image_size: 160
model:
  backbone: efficientnet_lite0
  head: {pooling: avg, dropout: 0.2}
augment:
  - flip: horizontal
  - rotate: {degrees: 10}
phases:
  - name: warm-up
    train: head
    epochs: 10
    learning_rate: 1e-3
  - name: fine-tune
    train: {last_stages: 2}
    epochs: 5
    learning_rate: 1e-4
    schedule: cosine
    ramp_epochs: 1
"""


@pytest.fixture
def base() -> str:
    """A sound recipe of 23 lines."""
    return BASE


@pytest.fixture
def load(tmp_path):
    """`load(text or bytes, *changes)`: the recipe of that file."""

    def load(text, *changes, **overrides):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_recipe(path, changes, **overrides)

    return load


@pytest.fixture
def complaints(load):
    """`complaints(text or bytes, *changes)`: the first line of each problem."""

    def complaints(text, *changes, **overrides):
        with pytest.raises(RecipeError) as caught:
            load(text, *changes, **overrides)
        return [str(problem).split("\n")[0] for problem in caught.value.problems]

    return complaints
