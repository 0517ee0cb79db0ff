"""Test predictions of several runs as those of one."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.bundle.run_folder import SEPARATOR
from transferkit.evaluate.metrics import evaluate_predictions, report_to_dict
from transferkit.evaluate.multi_label import evaluate_multi_label

_COLUMN = "probability "


def pool_predictions(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> dict[str, Any]:
    """A report, as results.json has it, over the test pictures of all runs.

    A class that a run does not know, since it had no picture to train on, has probability 0 there. Where a picture may
    have any number of classes, each run's own thresholds count.

    Args:
        runs: each run's folder and its test report.
    """
    tables = [_read(folder) for folder, _ in runs]
    names = tuple(sorted({name for classes, _ in tables for name in classes}))
    if all(names_of_one == tables[0][0] for names_of_one, _ in tables):
        names = tables[0][0]
    probabilities = np.concatenate([_spread(table, classes, names) for classes, table in tables])
    labels = [row["label"] for _, table in tables for row in table]
    if "mean_average_precision" not in runs[0][1]:
        index = {name: label for label, name in enumerate(names)}
        majority = index[runs[0][1]["majority_baseline"]["class_name"]]
        return report_to_dict(
            evaluate_predictions(
                probabilities,
                np.array([index[label] for label in labels]),
                class_names=names,
                split="test",
                majority_label=majority,
            )
        )
    thresholds = [
        np.tile([_thresholds(report).get(name, 1.0) for name in names], (len(table), 1))
        for (_, report), (_, table) in zip(runs, tables, strict=True)
    ]
    # So that one threshold, 0.5, finds in every run what its own thresholds found there.
    found = probabilities >= np.concatenate(thresholds)
    # A name may hold the separator itself, where it comes from a list.
    between = [f"{SEPARATOR}{label}{SEPARATOR}" for label in labels]
    truth = np.array([[f"{SEPARATOR}{name}{SEPARATOR}" in label for name in names] for label in between])
    hard = evaluate_multi_label(
        found.astype(np.float64),
        truth,
        thresholds=np.full(len(names), 0.5),
        class_names=names,
        split="test",
        majority=np.array([name in runs[0][1]["majority_baseline"]["class_names"] for name in names]),
    )
    soft = evaluate_multi_label(
        probabilities,
        truth,
        thresholds=np.full(len(names), 0.5),
        class_names=names,
        split="test",
        majority=np.zeros(len(names), bool),
    )
    ranked = ("mean_average_precision", "log_loss")
    return report_to_dict(hard) | {name: getattr(soft, name) for name in ranked}


def _read(folder: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or ()
        rows = [row for row in reader if row["split"] == "test"]
    return tuple(name.removeprefix(_COLUMN) for name in columns if name.startswith(_COLUMN)), rows


def _spread(table: Sequence[Mapping[str, str]], classes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    known = set(classes)
    return np.array([[float(row[_COLUMN + name]) if name in known else 0.0 for name in names] for row in table])


def _thresholds(report: Mapping[str, Any]) -> dict[str, float]:
    return {one["name"]: one["threshold"] for one in report["per_class"]}
