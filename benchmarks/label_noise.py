"""Wrong labels planted in the embedded pictures, and how many of them are found.

    python benchmarks/label_noise.py [--backbone efficientnet_lite0] [--size 160] [--share 0.05] [--seeds 20]

For each seed, the given share of all pictures gets another class at random. Counted is which of them are among the
first n, and the first 2 n, of the ranked suspects, where n is how many were planted; and among those that the finding
of doctor counts as mislabelled. The pictures' own labels have errors too, which count as false ones here.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from common import write_results

from transferkit.backbones.table import BACKBONES
from transferkit.check import load_recipe
from transferkit.data.source import list_source
from transferkit.doctor.labels import features_of, load_pictures
from transferkit.doctor.suspects import suspect_labels
from transferkit.progress import ConsoleProgress


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=BACKBONES, default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args(arguments)
    recipe = load_recipe("quickstart", [f"model.backbone={given.backbone}", f"data.image_size={given.size}"])
    progress = ConsoleProgress()
    data = load_pictures(recipe, list_source(recipe.data), progress)
    start_s = time.perf_counter()
    features = features_of(recipe, data, progress)
    features_s = time.perf_counter() - start_s
    labels = data.labels[data.rows["train"]]
    num_planted, rows = round(given.share * len(labels)), []
    for seed in range(given.seeds):
        noisy, planted = plant(labels, num_planted, len(data.class_names), seed)
        start_s = time.perf_counter()
        suspects = suspect_labels(features, noisy, seed=seed)
        seconds = time.perf_counter() - start_s
        ranked, sure = [one.row for one in suspects], [one.row for one in suspects if one.confident]
        shares = [np.isin(planted, chosen).mean() for chosen in (ranked[:num_planted], ranked[: 2 * num_planted], sure)]
        rows.append((*shares, len(sure), seconds))
    found = np.array(rows)
    names = ("found in the first n", "found in the first 2 n", "found among the confident", "confident", "seconds")
    figures = {
        "backbone": given.backbone,
        "size_px": given.size,
        "pictures": len(labels),
        "planted (n)": num_planted,
        "seeds": given.seeds,
        "features, s": round(features_s, 1),
        "figures": [
            {
                "": name,
                "mean": round(float(column.mean()), 3),
                "lowest": round(float(column.min()), 3),
                "highest": round(float(column.max()), 3),
            }
            for name, column in zip(names, found.T, strict=True)
        ],
    }
    write_results("label_noise", " ".join(["python benchmarks/label_noise.py", *arguments]), figures)


def plant(labels: np.ndarray, num_planted: int, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which some are wrong, and which."""
    draw = np.random.default_rng(seed)
    planted = draw.choice(len(labels), num_planted, replace=False)
    noisy = labels.copy()
    noisy[planted] = (labels[planted] + draw.integers(1, num_classes, num_planted)) % num_classes
    return noisy, planted


if __name__ == "__main__":
    main(sys.argv[1:])
