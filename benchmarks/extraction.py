"""Feature extraction, with everything that storing them takes, against the bare forward pass of the same batches.

    python benchmarks/extraction.py [--backbone resnet50] [--size 224] [--rounds 5]

Bare: one compiled function of the whole backbone with pooling, on batches that are in memory. Ours: `Features`, from
the run's pictures to rows on disk that the next run finds. Both in turn, 256 pictures each time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from common import NUM_CLASSES, Hook, draw_pictures, make_data, make_recipe, write_results

from transferkit.backbones.table import BACKBONES
from transferkit.model.classifier import build_classifier
from transferkit.train.features import Features
from transferkit.train.forward import BATCH_SIZE
from transferkit.train.placement import local_strategy

NUM_IMAGES = 8 * BATCH_SIZE
HEAD_ONLY = [{"name": "warm-up", "train": "head", "epochs": 1, "learning_rate": 1e-3}]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=BACKBONES, default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    recipe = make_recipe(given.backbone, given.size, HEAD_ONLY)
    classifier = build_classifier(
        recipe.model, BACKBONES[given.backbone], image_size_px=given.size, num_classes=NUM_CLASSES, seed=0
    )
    network = keras.Model(classifier.network.input, classifier.network.get_layer("pooled").output)
    bare = tf.function(lambda rows: network(tf.cast(rows, tf.float32), training=False))
    images, labels = draw_pictures(NUM_IMAGES * (given.rounds + 1), given.size)
    data = make_data(images, labels, num_train=0)
    cut = len(classifier.stage_ends)
    bare_s, ours_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        recipe = recipe.model_copy(update={"cache": recipe.cache.model_copy(update={"folder": folder})})
        features = Features(
            classifier, data, recipe=recipe, precision="float32", strategy=local_strategy(), progress=Hook()
        )
        for start in range(0, len(images), NUM_IMAGES):
            start_s = time.perf_counter()
            for first in range(start, start + NUM_IMAGES, BATCH_SIZE):
                bare(tf.constant(images[first : first + BATCH_SIZE])).numpy()
            middle_s = time.perf_counter()
            data.rows["train"] = np.arange(start, start + NUM_IMAGES)
            features.forget_above(0)
            features.prepare([cut], "train")
            bare_s.append(middle_s - start_s)
            ours_s.append(time.perf_counter() - middle_s)
    # The first round builds the graphs.
    shares = [bare / ours for bare, ours in zip(bare_s[1:], ours_s[1:], strict=True)]
    figures = {
        "backbone": given.backbone,
        "size_px": given.size,
        "bare, pictures per s": round(NUM_IMAGES / float(np.median(bare_s[1:])), 1),
        "ours / bare, median": round(float(np.median(shares)), 3),
        "each": [round(one, 3) for one in shares],
    }
    write_results("extraction", " ".join(["python benchmarks/extraction.py", *arguments]), figures)


if __name__ == "__main__":
    main(sys.argv[1:])
