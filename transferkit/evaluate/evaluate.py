"""Results on the splits that a recipe reports, every picture counted once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from transferkit.data.listing import SPLITS, Split
from transferkit.data.load import Data
from transferkit.evaluate.metrics import EvalReport, evaluate_predictions
from transferkit.progress import Progress
from transferkit.recipe.recipe import Recipe
from transferkit.train.forward import compute_outputs, fitting_batch_size
from transferkit.train.strategy import Strategy


def evaluate_splits(
    model: Any, data: Data, recipe: Recipe, *, strategy: Strategy, progress: Progress
) -> tuple[Mapping[Split, EvalReport], Mapping[Split, np.ndarray]]:
    """A report for each split in `recipe.evaluate`, and the probabilities behind it.

    Args:
        model: pixels 0–255 to probabilities.

    Returns:
        Reports by split, and probabilities `(num_images, num_classes)` float32 by split, in the order of `data.rows`.
    """
    majority_label = int(np.bincount(data.labels[data.rows["train"]]).argmax())
    forward = strategy.forward([model])
    reports: dict[Split, EvalReport] = {}
    probabilities: dict[Split, np.ndarray] = {}
    for split in (one for one in SPLITS if one in recipe.evaluate):
        rows = data.rows[split]
        with progress.task(f"evaluating on {split}", len(rows), "pictures") as task:
            batch_size = fitting_batch_size(len(rows))
            (table,) = compute_outputs(forward, data.images, rows, strategy=strategy, batch_size=batch_size, task=task)
        probabilities[split] = table
        reports[split] = evaluate_predictions(
            table, data.labels[rows], class_names=data.class_names, split=split, majority_label=majority_label
        )
    return reports, probabilities
