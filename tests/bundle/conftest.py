"""A recipe to begin runs of, and runs that were ended at some moment."""

import pytest

from transferkit.bundle.run_folder import RESULTS
from transferkit.bundle.unfinished import open_run_dir
from transferkit.check import check_draft
from transferkit.recipe.draft import draft_values


@pytest.fixture(scope="session")
def make_recipe():
    """`make_recipe(learning_rate=…, **sections)`: a checked recipe of one phase."""

    def make(learning_rate: float = 1e-3, **sections):
        phase = {"name": "p", "train": "head", "epochs": 3, "learning_rate": learning_rate}
        return check_draft(draft_values({"data": {"source": "sample"}, "phases": [phase], **sections}, source="test"))

    return make


@pytest.fixture
def recipe(make_recipe):
    return make_recipe()


@pytest.fixture
def begin():
    """`begin(path, recipe, finish=False)`: a run that leaves splits.csv, and results.json if it is to finish."""

    def begin(path, recipe, *, finish: bool = False):
        with open_run_dir(path, recipe=recipe):
            (path / "splits.csv").write_text("path,label,split\n")
            if finish:
                (path / RESULTS).write_text("{}")
        return path

    return begin
