"""A toy classifier through the real builder: three stages, batch norm, a residual sum, 32 px, 7,000 numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from transferkit.backbones.preprocess import minus_one_to_one
from transferkit.backbones.spec import BackboneSpec
from transferkit.check import check_draft
from transferkit.data.load import Data
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values

NUM_CLASSES, SIZE_PX = 3, 32


def _build(*, input_tensor: Any) -> Any:
    import keras
    from keras import layers

    def convolve(x: Any, filters: int, strides: int, name: str) -> Any:
        x = layers.Conv2D(filters, 3, strides, padding="same", name=f"{name}_conv")(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    x = convolve(input_tensor, 8, 4, "first")
    x = convolve(x, 16, 2, "second")
    x = layers.Add(name="second_add")([x, convolve(x, 16, 1, "inner")])
    x = convolve(x, 24, 2, "third")
    return keras.Model(keras.utils.get_source_inputs(input_tensor)[0], x)


TOY = BackboneSpec(
    name="toy",
    build=_build,
    preprocess=minus_one_to_one,
    image_size_px=SIZE_PX,
    min_size_px=8,
    feature_dim=24,
    stage_ends=("first_relu", "second_add", "third_relu"),
    imagenet=lambda backbone: None,
    licence="none",
    source="made for the tests",
)


@pytest.fixture(scope="session")
def make_data():
    """Pictures of noise whose class shows in one colour: `train` and `validation` of them."""

    def make(train: int = 24, validation: int = 10, *, test: int = 0, seed: int = 0) -> Data:
        draw = np.random.default_rng(seed)
        total = train + validation + test
        labels = (np.arange(total) % NUM_CLASSES).astype(np.int32)
        images = draw.integers(0, 150, (total, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
        images[np.arange(total), :, :, labels] += 60
        # Splits are interleaved, as those of a folder are.
        rows = np.split(draw.permutation(total), [train, train + validation])
        return Data(
            class_names=("red", "green", "blue"),
            images=images,
            labels=labels,
            paths=tuple(map(str, range(total))),
            rows=dict(zip(("train", "validation", "test"), rows, strict=True)),
            skipped=(),
        )

    return make


@pytest.fixture(scope="session")
def make_recipe():
    """A checked recipe with batches of 8; phases need only say what matters."""

    def make(*phases: dict, **sections: Any):
        defaults = {"name": "phase", "train": "head", "epochs": 1, "learning_rate": 1e-2}
        values = {
            "data": {"source": "sample", "image_size": SIZE_PX, "batch_size": 8},
            "model": {"weights": "none", "head": {"dropout": 0.0}},
            **sections,
            "phases": [{**defaults, **phase} for phase in phases],
        }
        return check_draft(draft_values(values, source="test"))

    return make


@dataclass
class Toy:
    """A classifier with a recipe's schedule and data."""

    classifier: Any
    data: Data
    recipe: Any
    schedule: Sequence[Any]
    precision: str

    def weights(self) -> dict[str, np.ndarray]:
        return {path: variable.numpy() for path, variable in self.classifier.weights().items()}

    def train(self, progress: Any = None, schedule: Sequence[Any] | None = None) -> Any:
        from transferkit.train.loop import train

        return train(
            self.classifier,
            self.data,
            self.schedule if schedule is None else schedule,
            recipe=self.recipe,
            precision=self.precision,
            progress=progress or Quiet(),
        )

    def store(self) -> Any:
        from transferkit.train.features import FeatureStore

        batch_size = self.recipe.data.batch_size
        return FeatureStore(self.classifier, self.data, batch_size=batch_size, progress=Quiet())

    def phase_run(self, index: int = 0, *, store: Any = None) -> Any:
        from transferkit.train.phase_run import PhaseRun

        return PhaseRun(
            self.classifier,
            self.data,
            self.schedule[index],
            store or self.store(),
            recipe=self.recipe,
            precision=self.precision,
            progress=Quiet(),
        )


@pytest.fixture(scope="session")
def make_toy(make_data, make_recipe):
    """`make_toy(phase, …, data=…, precision=…, **recipe sections)`; equal calls give equal networks."""

    def make(*phases: dict, data: Data | None = None, precision: str = "float32", **sections: Any) -> Toy:
        from transferkit.model.classifier import build_classifier
        from transferkit.schedule.schedule import resolve_schedule

        recipe, data = make_recipe(*phases, **sections), data or make_data()
        classifier = build_classifier(
            recipe.model,
            TOY,
            image_size_px=SIZE_PX,
            num_classes=NUM_CLASSES,
            seed=recipe.seed,
            precision=precision,
        )
        schedule = resolve_schedule(
            recipe.phases,
            stages=classifier.stages,
            steps_per_epoch=-(-len(data.rows["train"]) // recipe.data.batch_size),
            augment=bool(recipe.augment),
        )
        return Toy(classifier, data, recipe, schedule, precision)

    return make


@pytest.fixture
def record_batches(monkeypatch):
    """Records what the network trains on: a list that fills with `(images, labels)`, augmented, one-hot."""

    def start() -> list[tuple[np.ndarray, np.ndarray]]:
        import tensorflow as tf

        from transferkit.train import trainer

        batches: list[tuple[np.ndarray, np.ndarray]] = []
        augment = trainer.augment_batch

        def record(augmentations: Any, images: Any, labels: Any) -> tuple[Any, Any]:
            images, labels = augment(augmentations, images, labels)
            tf.numpy_function(lambda *arrays: batches.append(arrays), [images, labels], [])
            return images, labels

        monkeypatch.setattr(trainer, "augment_batch", record)
        return batches

    return start
