"""The plain Keras loop against transferkit: same pictures, batches, phases, optimizer and rates, epochs in turn.

    python benchmarks/against_keras.py [--images 500] [--epochs 10] [--only warm-up last-stage everything step accuracy]

The plain loop follows Keras' transfer-learning guide (https://keras.io/guides/transfer_learning/): a frozen base in
inference mode, a new head, `fit`; then part of the base unfrozen, compiled anew with a low rate, `fit`. ResNet50 with
random weights at 224 px, since the time does not depend on the weights. What is compared is training with validation:
no process start, no reading of files.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import NUM_CLASSES, Hook, draw_pictures, make_data, make_recipe, train_ours, write_results

from transferkit.backbones.table import BACKBONES
from transferkit.data.load import load_data
from transferkit.data.source import list_source
from transferkit.model.classifier import build_classifier
from transferkit.progress import Quiet

SIZE_PX, BATCH_SIZE = 224, 16
WARM_UP = {"name": "warm-up", "train": "head", "learning_rate": 1e-3}
LAST_STAGE = {"name": "last stage", "train": {"last_stages": 1}, "learning_rate": 1e-5}
EVERYTHING = {"name": "everything", "train": "all", "learning_rate": 1e-5}
LITE0 = {"backbone": "efficientnet_lite0", "weights": "imagenet", "head": {"dropout": 0.2}}
LAST_STAGE_BEGINS = "conv5_block1_1_conv"


class PlainKeras:
    """The guide's model and data."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, *, num_train: int, size_px: int = SIZE_PX) -> None:
        def dataset(rows: slice) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensor_slices((images[rows], labels[rows]))

        train, validation = dataset(slice(num_train)), dataset(slice(num_train, None))
        self.train = train.shuffle(num_train, seed=0).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
        self.validation = validation.batch(BATCH_SIZE).cache().prefetch(tf.data.AUTOTUNE)
        self.base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(size_px, size_px, 3))
        inputs = keras.Input((size_px, size_px, 3))
        x = keras.applications.resnet.preprocess_input(inputs)
        x = self.base(x, training=False)
        x = keras.layers.GlobalAveragePooling2D()(x)
        x = keras.layers.Dropout(0.2)(x)
        self.model = keras.Model(inputs, keras.layers.Dense(int(labels.max()) + 1)(x))

    def freeze(self, first_trained: str | None, learning_rate: float) -> None:
        """Compile with everything before a layer of the base frozen; the whole base if `None`."""
        self.base.trainable = first_trained is not None
        trains = False
        for layer in self.base.layers if first_trained else ():
            trains = trains or layer.name == first_trained
            # As transferkit does by default, and the guide by `training=False`: batch norm stays as it is.
            layer.trainable = trains and not isinstance(layer, keras.layers.BatchNormalization)
        self.model.compile(
            optimizer=keras.optimizers.AdamW(learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy()],
        )

    def epoch(self) -> float:
        start_s = time.perf_counter()
        self.model.fit(self.train, validation_data=self.validation, epochs=1, verbose=0)
        return time.perf_counter() - start_s


def in_turn(plain_epoch: Callable[[int], float], data: Any, recipe: Any, cache: Path | None = None) -> dict[str, float]:
    """Seconds of both sides; after each of our epochs comes one of the plain loop."""
    plain: list[float] = []

    def one_epoch() -> None:
        plain.append(plain_epoch(len(plain)))

    ours_s, _ = train_ours(data, recipe, hook=Hook(one_epoch), cache=cache)
    return {"plain_s": round(sum(plain), 1), "ours_s": round(ours_s, 1), "ratio": round(sum(plain) / ours_s, 2)}


def phases(epochs: int, *given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**one, "epochs": epochs} for one in given]


def warm_up(images: np.ndarray, labels: np.ndarray, data: Any, epochs: int) -> dict[str, Any]:
    """The first time, and again with another learning rate, which finds the features stored."""
    plain = PlainKeras(images, labels, num_train=len(data.rows["train"]))
    plain.freeze(None, WARM_UP["learning_rate"])
    with tempfile.TemporaryDirectory() as folder:
        recipe = make_recipe("resnet50", SIZE_PX, phases(epochs, WARM_UP))
        first = in_turn(lambda _: plain.epoch(), data, recipe, cache=Path(folder))
        again = make_recipe("resnet50", SIZE_PX, phases(epochs, {**WARM_UP, "learning_rate": 3e-3}))
        again_s, _ = train_ours(data, again, cache=Path(folder))
    ratio = round(first["plain_s"] / again_s, 1)
    return {**first, "ours_s, another learning rate": round(again_s, 2), "ratio, another learning rate": ratio}


def last_stage(images: np.ndarray, labels: np.ndarray, data: Any, epochs: int) -> dict[str, Any]:
    plain = PlainKeras(images, labels, num_train=len(data.rows["train"]))
    plain.freeze(None, WARM_UP["learning_rate"])

    def epoch(number: int) -> float:
        start_s = time.perf_counter()
        if number == epochs:
            plain.freeze(LAST_STAGE_BEGINS, LAST_STAGE["learning_rate"])
        plain.epoch()
        return time.perf_counter() - start_s

    return in_turn(epoch, data, make_recipe("resnet50", SIZE_PX, phases(epochs, WARM_UP, LAST_STAGE)))


def accuracy(epochs: int, seeds: int) -> dict[str, Any]:
    """Validation accuracy of the last epoch on the embedded pictures, with EfficientNet-Lite0's ImageNet weights."""
    found: dict[str, list[float]] = {"plain": [], "ours": []}
    given = [{**WARM_UP, "epochs": epochs}, {"name": "fine-tune", "train": {"last_stages": 2}, "learning_rate": 1e-4}]
    for seed in range(seeds):
        recipe = make_recipe("efficientnet_lite0", 160, phases(epochs, *given), model=LITE0, seed=seed)
        data = load_data(
            list_source(recipe.data, multi_label=recipe.multi_label),
            recipe.data,
            cache=recipe.cache,
            seed=seed,
            need_test=False,
            progress=Quiet(),
        )
        _, history = train_ours(data, recipe)
        found["ours"].append(history[-1].val_accuracy)
        found["plain"].append(plain_accuracy(recipe, data, epochs))
    rounded = {f"{side}, by seed": [round(one, 4) for one in values] for side, values in found.items()}
    means = {f"{side}, mean": round(float(np.mean(values)), 4) for side, values in found.items()}
    return {"epochs": epochs, **rounded, **means}


def plain_accuracy(recipe: Any, data: Any, epochs: int) -> float:
    """The same network and phases with nothing but Keras' own flags and `fit`."""
    classifier = build_classifier(
        recipe.model, BACKBONES["efficientnet_lite0"], image_size_px=160, num_classes=NUM_CLASSES, seed=recipe.seed
    )
    trains_from = (len(classifier.layers) - 1, len(classifier.layers) - 3)
    train, validation = ((data.images[data.rows[one]], data.labels[data.rows[one]]) for one in ("train", "validation"))
    model = classifier.network
    for first, phase in zip(trains_from, recipe.phases, strict=True):
        for index, stage in enumerate(classifier.layers):
            for layer in stage:
                layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)
        model.compile(
            optimizer=keras.optimizers.AdamW(phase.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        done = model.fit(*train, batch_size=BATCH_SIZE, validation_data=validation, epochs=epochs, verbose=0)
    return done.history["val_accuracy"][-1]


def steps(data_px: int, num_train: int, rounds: int, *, train: dict[str, Any]) -> dict[str, Any]:
    """Full-model epochs in turn, without validation and the first one, in which both build their graphs."""
    images, labels = draw_pictures(num_train + 1, data_px)
    data = make_data(images, labels, num_train=num_train)
    plain = PlainKeras(images, labels, num_train=num_train, size_px=data_px)
    plain.freeze("conv1_conv", train["learning_rate"])
    ratios: list[float] = []
    state = {"plain_s": 0.0, "end_s": 0.0}

    def one_epoch() -> None:
        ours_s = time.perf_counter() - state["end_s"]
        plain_s = plain.epoch()
        ratios.append(ours_s / plain_s)
        state["end_s"] = time.perf_counter()

    state["end_s"] = time.perf_counter()
    train_ours(data, make_recipe("resnet50", data_px, phases(rounds + 1, train)), hook=Hook(one_epoch))
    kept = ratios[1:]
    return {"ours / plain, median": round(float(np.median(kept)), 3), "each": [round(one, 3) for one in kept]}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500, help="training pictures; a fifth as many validate")
    parser.add_argument("--epochs", type=int, default=10)
    parts = ("warm-up", "last-stage", "everything", "step", "accuracy")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    given = parser.parse_args(arguments)
    images, labels = draw_pictures(given.images * 6 // 5, SIZE_PX)
    data = make_data(images, labels, num_train=given.images)
    measured = {
        "warm-up": lambda: warm_up(images, labels, data, given.epochs),
        "last-stage": lambda: last_stage(images, labels, data, given.epochs),
        "accuracy": lambda: accuracy(given.epochs, seeds=3),
        "everything": lambda: steps(SIZE_PX, given.images, 2, train=EVERYTHING),
        "step": lambda: steps(96, 8 * BATCH_SIZE, 8, train=EVERYTHING),
    }
    for part in given.only:
        keras.backend.clear_session()
        figures = {} if part in ("step", "accuracy") else {"images": given.images, "epochs": given.epochs}
        command = f"python benchmarks/against_keras.py --images {given.images} --epochs {given.epochs} --only {part}"
        write_results(f"against_keras_{part.replace('-', '_')}", command, {**figures, **measured[part]()})


if __name__ == "__main__":
    main(sys.argv[1:])
