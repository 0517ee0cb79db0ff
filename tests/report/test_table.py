"""Results as one row."""

import numpy as np
import pytest

from transferkit.evaluate.metrics import evaluate_predictions
from transferkit.evaluate.multi_label import evaluate_multi_label
from transferkit.report.notebook import result_to_html
from transferkit.report.table import table_row

NAMES = ("ant", "bee")
P = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])


@pytest.fixture
def of_one():
    return evaluate_predictions(P, np.array([0, 0, 1, 1]), class_names=NAMES, split="test", majority_label=0)


@pytest.fixture
def of_several():
    labels = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], bool)
    options = {"thresholds": np.array([0.5, 0.5]), "majority": labels[0], "split": "test"}
    return evaluate_multi_label(P, labels, class_names=NAMES, **options)


def test_row_tells_what_one_class_per_picture_gives(of_one):
    row = table_row(of_one)

    assert row["images"] == "4"
    assert (row["accuracy"], row["balanced"], row["majority"]) == ("75.0%", "75.0%", "50.0%")
    assert row["top 5"] == ""


def test_row_tells_what_several_classes_per_picture_give(of_several):
    row = table_row(of_several)

    assert (row["accuracy"], row["majority"], row["Hamming"]) == ("75.0%", "50.0%", "0.125")
    assert row["mAP"] == "0.917"  # both bees are first and third: 5/6


@pytest.mark.parametrize("kind", ["of_one", "of_several"])
def test_rows_fit_a_terminal_and_notebooks_show_the_same(kind, request, tmp_path):
    report = request.getfixturevalue(kind)
    row = {"split": "validation", **table_row(report)}

    width = sum(max(len(head), len(text)) + 2 for head, text in row.items())
    text = result_to_html(tmp_path, {"test": report})

    assert width <= 80
    assert all(f"<th>{head}</th>" in text for head in row)
    assert all(f"<td>{value}</td>" in text for value in table_row(report).values())
