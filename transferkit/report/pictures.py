"""The figures of a run by file name, drawn from its values."""

import numpy as np
from matplotlib.figure import Figure

from transferkit.data.listing import Split
from transferkit.data.load import Data
from transferkit.evaluate.evaluate import Evaluation
from transferkit.evaluate.metrics import roc_curves
from transferkit.evaluate.multi_label import MultiLabelReport
from transferkit.model.augment import build_augmentations, preview
from transferkit.recipe.recipe import Recipe
from transferkit.report.bars import plot_average_precision
from transferkit.report.figures import plot_confusion, plot_curves, plot_roc, plot_samples
from transferkit.train.loop import Training

_SAMPLE_ROWS, _SAMPLE_DRAWS = 6, 4


def sample_figures(data: Data, recipe: Recipe) -> dict[str, Figure]:
    """samples.png: training pictures as the model sees them, with random draws where there is augmentation."""
    rows = np.random.default_rng(recipe.seed).permutation(data.rows["train"])[:_SAMPLE_ROWS]
    augments = bool(recipe.augment) and any(phase.augment for phase in recipe.phases)
    draws = _SAMPLE_DRAWS if augments else 0
    augmentations = build_augmentations(recipe.augment, seed=recipe.seed)
    figure = plot_samples(
        preview(augmentations, (data.for_augmentation if draws else data.images)[rows], draws=draws, seed=recipe.seed),
        captions=[", ".join(data.classes_of(row)) or "no class" for row in rows],
        column_titles=["as read", *(f"augmented {draw + 1}" for draw in range(draws))] if draws else (),
        title="Training pictures as the model sees them",
    )
    return {"samples.png": figure}


def training_figures(training: Training) -> dict[str, Figure]:
    """curves.png: loss, accuracy and learning rate by epoch."""
    epochs = training.epochs
    figure = plot_curves(
        epochs=[row.epoch for row in epochs],
        phases=[row.phase for row in epochs],
        learning_rates=[row.learning_rate for row in epochs],
        train_loss=[row.loss for row in epochs],
        validation_loss=[row.val_loss for row in epochs],
        train_accuracy=[row.accuracy for row in epochs],
        validation_accuracy=[row.val_accuracy for row in epochs],
        best_epoch=training.best.epoch if training.best else None,
    )
    return {"curves.png": figure}


def result_figures(data: Data, found: Evaluation) -> dict[str, Figure]:
    """confusion.png and roc.png, of the test split where it is reported, else of validation.

    Where a picture may have any number of classes, average_precision.png in their place.
    """
    if not found.reports:
        return {}
    split: Split = "test" if "test" in found.reports else "validation"
    report = found.reports[split]
    if isinstance(report, MultiLabelReport):
        values = [one.average_precision for one in report.per_class]
        shares = [one.support / report.num_images for one in report.per_class]
        figures = {"average_precision.png": plot_average_precision(data.class_names, values, shares)}
    else:
        figures = {"confusion.png": plot_confusion(report.confusion_matrix, data.class_names)}
        labels = data.labels[data.rows[split]]
        if curves := roc_curves(found.probabilities[split], labels, data.class_names):
            figures["roc.png"] = plot_roc(curves)
    for figure in figures.values():
        figure.suptitle(f"{split} split, {report.num_images} pictures", fontsize=10)
    return figures
