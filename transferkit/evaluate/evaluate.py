"""Results on the splits that a recipe reports, every picture counted once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.listing import SPLITS, Split
from transferkit.data.load import Data
from transferkit.evaluate.metrics import EvalReport, evaluate_predictions
from transferkit.evaluate.multi_label import MultiLabelReport, evaluate_multi_label, most_frequent
from transferkit.evaluate.thresholds import choose_thresholds
from transferkit.progress import Progress
from transferkit.recipe.recipe import Recipe
from transferkit.train.forward import compute_outputs, fitting_batch_size
from transferkit.train.strategy import Strategy

Report = EvalReport | MultiLabelReport


@dataclass(frozen=True)
class Evaluation:
    """What evaluation found.

    Args:
        reports: by split.
        probabilities: `(num_images, num_classes)` float32 by split, in the order of `data.rows`.
        thresholds: `(num_classes,)` float64, chosen on the validation split, from which on a class counts as found;
            `None` where each picture has one class.
    """

    reports: Mapping[Split, Report]
    probabilities: Mapping[Split, np.ndarray]
    thresholds: np.ndarray | None = None


def evaluate_splits(model: Any, data: Data, recipe: Recipe, *, strategy: Strategy, progress: Progress) -> Evaluation:
    """A report for each split in `recipe.evaluate`.

    Args:
        model: pixels 0–255 to probabilities.
    """
    forward = strategy.forward([model])
    # Thresholds come from the validation split, whether it is reported or not.
    asked = [one for one in SPLITS if one in recipe.evaluate or (data.multi_label and one == "validation")]
    found: dict[Split, np.ndarray] = {}
    for split in asked:
        rows = data.rows[split]
        with progress.task(f"evaluating on {split}", len(rows), "pictures") as task:
            batch_size = fitting_batch_size(len(rows))
            (found[split],) = compute_outputs(
                forward, data.images, rows, strategy=strategy, batch_size=batch_size, task=task
            )
    thresholds = None
    if data.multi_label:
        thresholds = choose_thresholds(found["validation"], data.labels[data.rows["validation"]])
    probabilities = {split: table for split, table in found.items() if split in recipe.evaluate}
    reports = {split: _report(table, data, split, thresholds) for split, table in probabilities.items()}
    return Evaluation(reports, probabilities, thresholds)


def _report(probabilities: np.ndarray, data: Data, split: Split, thresholds: np.ndarray | None) -> Report:
    labels, trained = data.labels[data.rows[split]], data.labels[data.rows["train"]]
    about = {"class_names": data.class_names, "split": split}
    if thresholds is None:
        return evaluate_predictions(probabilities, labels, majority_label=int(np.bincount(trained).argmax()), **about)
    majority = most_frequent(trained)
    return evaluate_multi_label(probabilities, labels, thresholds=thresholds, majority=majority, **about)
