"""What `views: k` costs and gives: k stored augmented passes in turn, against fresh augmentation in every epoch.

    python benchmarks/views.py [--seeds 0 1 2] [--epochs 20] [--views 1 2 4 8]

The head of EfficientNet-Lite0 (ImageNet weights) on the embedded pictures at 160 px with the quickstart recipe's
augmentation, the backbone frozen. Without augmentation and with k views the frozen part runs once or k times over the
pictures; with fresh augmentation in every epoch. Draws log loss over seconds to benchmarks/results/views.png. Seconds
are those of the epochs, which make the views; without augmentation the one pass comes before them and is not in it. The
test split has 97 pictures, so an accuracy of 80 % is known to 4 points.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, write_results
from matplotlib.figure import Figure

from transferkit import FineTuner
from transferkit.progress import Quiet


def run(seed: int, epochs: int, views: int | None, *, augment: bool) -> tuple[float, float, float]:
    """Test accuracy, log loss, and seconds of training, with an empty feature cache."""
    phase = {"name": "warm-up", "train": "head", "epochs": epochs, "learning_rate": 1e-3}
    with tempfile.TemporaryDirectory() as folder:
        tuner = FineTuner.from_recipe(
            "quickstart",
            seed=seed,
            phases=[{**phase, "augment": augment, **({"views": views} if views else {})}],
            cache={"folder": str(Path(folder) / "cache")},
        )
        result = tuner.run(Path(folder) / "run", progress=Quiet())
    report = result.report["test"]
    return report.accuracy, report.log_loss, sum(epoch.seconds for epoch in result.watch)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4, 8])
    given = parser.parse_args(arguments)
    cases = {"none": (None, False), **{f"views: {k}": (k, True) for k in given.views}, "fresh": (None, True)}
    found = {name: [] for name in cases}
    for seed in given.seeds:  # in turn, so that a slow hour of the machine meets all alike
        for name, (views, augment) in cases.items():
            found[name].append(run(seed, given.epochs, views, augment=augment))
            print(seed, name, found[name][-1], flush=True)
    figures = {}
    for name, rows in found.items():
        accuracy, loss, seconds = np.mean(rows, axis=0)
        figures[name] = {
            "test accuracy": round(float(accuracy), 4),
            "by seed": [round(row[0], 4) for row in rows],
            "test log loss": round(float(loss), 4),
            "seconds": round(float(seconds), 1),
        }
    write_results("views", " ".join(["python benchmarks/views.py", *arguments]), {"augmentation": figures})
    draw(figures).savefig(RESULTS / "views.png", dpi=120)


def draw(figures: dict) -> Figure:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in figures.items():
        axes.plot(row["seconds"], row["test log loss"], "o")
        axes.annotate(name, (row["seconds"], row["test log loss"]), xytext=(6, 4), textcoords="offset points")
    axes.set(xlabel="seconds of training", ylabel="log loss on the test split", xscale="log")
    axes.margins(x=0.2, y=0.15)
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
