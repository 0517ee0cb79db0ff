"""A finished run: its recipe, and its classifier. Importing this imports no Keras, whose backend the recipe chooses."""

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.bundle.run_folder import CLASSES, MODEL, RECIPE
from transferkit.check import load_recipe
from transferkit.errors import RunFolderError
from transferkit.recipe.recipe import Recipe
from transferkit.train.runtime import choose_backend

if TYPE_CHECKING:
    from transferkit.bundle.predictor import Predictor


def read_run_recipe(run_dir: Path | str) -> Recipe:
    """The recipe of a finished run.

    Raises:
        RunFolderError: no run folder, or one without a model.
    """
    run_dir = Path(run_dir)
    for name in (RECIPE, CLASSES, MODEL):
        if not (run_dir / name).is_file():
            if any((run_dir / made).exists() for made in ("kfold.json", "fold-1")):
                fold = run_dir / "fold-1"
                raise RunFolderError(
                    f"{run_dir} holds the runs of `transferkit finetune --kfold`. Name one of them, such as {fold}"
                )
            what = "does not exist" if not run_dir.exists() else f"has no {name}, so it is not a finished run"
            raise RunFolderError(f"{run_dir} {what}. Give the folder that `transferkit finetune` named at its end.")
    # The weights are in the model; where they came from may be gone.
    return load_recipe(run_dir / RECIPE, ["model.weights=none"])


def load_run(run_dir: Path | str) -> "Predictor":
    """The classifier of a finished run, on the backend that it was trained with.

    Raises:
        RunFolderError: no run folder, or one without a model.
        RuntimeSetupError: Keras runs on another backend already.
    """
    recipe = read_run_recipe(run_dir)
    choose_backend(recipe.runtime.backend)
    from transferkit.bundle.predictor import load_predictor

    return load_predictor(Path(run_dir), recipe)
