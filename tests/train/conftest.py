"""A toy classifier through the real builder: three stages, batch norm, a residual sum, 32 px, 7,000 numbers."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferkit.backbones.preprocess import minus_one_to_one
from transferkit.backbones.spec import BackboneSpec
from transferkit.check import check_draft
from transferkit.data.balance import balance_training
from transferkit.data.load import Data
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values
from transferkit.store.index import index_end

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


def _digests(images: np.ndarray) -> tuple[bytes, ...]:
    return tuple(hashlib.sha256(image.tobytes()).digest() for image in images)


@pytest.fixture(autouse=True)
def own_home(features_home, monkeypatch, request) -> Path:
    """Every test begins without stored features."""
    home = features_home / hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    monkeypatch.setenv("TRANSFERKIT_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def with_pictures():
    """`with_pictures(data, images)`: other pictures in the place of the data's."""

    def change(data: Data, images: np.ndarray) -> Data:
        return replace(data, images=images, digests=_digests(images))

    return change


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
            weights=np.ones(total, np.float32),
            paths=tuple(map(str, range(total))),
            digests=_digests(images),
            rows=dict(zip(("train", "validation", "test"), rows, strict=True)),
            skipped=(),
        )

    return make


@pytest.fixture(scope="session")
def make_unbalanced(make_data):
    """The same with 2, 3 and 8 training pictures of the classes, and 10 to validate."""

    def make(counts: Sequence[int] = (2, 3, 8)) -> Data:
        data = make_data(train=6 * max(counts), validation=10)  # with enough of each class
        rows, labels = data.rows["train"], data.labels[data.rows["train"]]
        kept = [rows[labels == label][:count] for label, count in enumerate(counts)]
        return replace(data, rows={**data.rows, "train": np.sort(np.concatenate(kept))})

    return make


@pytest.fixture(scope="session")
def make_several():
    """Pictures of noise that any number of three classes brighten, each in its colour."""

    def make(train: int = 24, validation: int = 12, *, test: int = 0, seed: int = 0) -> Data:
        draw, total = np.random.default_rng(seed), train + validation + test
        labels = draw.random((total, NUM_CLASSES)) < (0.3, 0.5, 0.6)
        images = draw.integers(0, 150, (total, SIZE_PX, SIZE_PX, 3)) + 80 * labels[:, None, None, :]
        images = images.astype(np.uint8)
        rows = np.split(draw.permutation(total), [train, train + validation])
        return Data(
            class_names=("red", "green", "blue"),
            images=images,
            labels=labels,
            weights=np.ones(total, np.float32),
            paths=tuple(map(str, range(total))),
            digests=_digests(images),
            rows=dict(zip(("train", "validation", "test"), rows, strict=True)),
            skipped=(),
        )

    return make


@pytest.fixture(scope="session")
def make_recipe():
    """A checked recipe with batches of 8; phases, and `pictures` of the data section, need only say what matters."""

    def make(*phases: dict, pictures: Mapping[str, Any] | None = None, **sections: Any):
        defaults = {"name": "phase", "train": "head", "epochs": 1, "learning_rate": 1e-2}
        values = {
            "data": {"source": "sample", "image_size": SIZE_PX, "batch_size": 8, **(pictures or {})},
            "model": {"weights": "none", "head": {"dropout": 0.0}},
            **sections,
            "phases": [{**defaults, **phase} for phase in phases],
        }
        return check_draft(draft_values(values, source="test"))

    return make


class Told(Quiet):
    """Keeps in their order the lines that it is told, and the name and total of every task."""

    def __init__(self) -> None:
        self.events: list[str | tuple[str, int]] = []

    def say(self, line: str) -> None:
        self.events.append(line)

    @contextmanager
    def task(self, what: str, total: int, unit: str = "") -> Iterator[Any]:
        self.events.append((what, total))
        yield self

    @property
    def lines(self) -> list[str]:
        return [event for event in self.events if isinstance(event, str)]

    @property
    def computed(self) -> list[tuple[str, int]]:
        """What features were computed and stored, and of how many pictures."""
        prefix = "features of the frozen part, "
        tasks = [event for event in self.events if not isinstance(event, str)]
        return [(what.removeprefix(prefix), total) for what, total in tasks if what.startswith(prefix)]


@pytest.fixture
def make_told():
    return Told


@pytest.fixture
def told(make_told) -> Told:
    return make_told()


def _cut_off_stores(home: Path, *, keep_rows: int) -> int:
    """Leave the first rows of every store, as after a kill; gives the number of stores."""
    stores = list(home.glob("stores/*/index.bin"))
    for index in stores:
        with open(index, "r+b") as file:
            file.truncate(index_end(keep_rows))
    return len(stores)


@pytest.fixture
def cut_off_stores():
    return _cut_off_stores


@dataclass
class Toy:
    """A classifier with a recipe's schedule and data."""

    classifier: Any
    data: Data
    recipe: Any
    schedule: Sequence[Any]
    precision: str
    strategy: Any
    scratch: Callable[[str], Path]

    def weights(self) -> dict[str, np.ndarray]:
        return {path: np.array(variable.numpy()) for path, variable in self.classifier.weights().items()}

    def assign(self, weights: Mapping[str, np.ndarray]) -> None:
        for path, variable in self.classifier.weights().items():
            variable.assign(weights[path])

    def train(
        self, progress: Any = None, schedule: Sequence[Any] | None = None, checkpoints: Path | None = None
    ) -> Any:
        from transferkit.train.checkpoint import Checkpoints
        from transferkit.train.loop import train

        return train(
            self.classifier,
            self.data,
            self.schedule if schedule is None else schedule,
            recipe=self.recipe,
            precision=self.precision,
            strategy=self.strategy,
            progress=progress or Quiet(),
            checkpoints=Checkpoints(checkpoints or self.scratch("checkpoints")),
        )

    def features(self, progress: Any = None) -> Any:
        from transferkit.train.features import Features

        return Features(
            self.classifier,
            self.data,
            recipe=self.recipe,
            precision=self.precision,
            strategy=self.strategy,
            progress=progress or Quiet(),
        )

    def phase_run(self, index: int = 0, *, features: Any = None, progress: Any = None) -> Any:
        from transferkit.train.apply import apply_trainable
        from transferkit.train.copies import WeightCopies
        from transferkit.train.phase_run import PhaseRun

        phase, copies = self.schedule[index], WeightCopies()
        applied = apply_trainable(self.classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
        copies.watch(applied.moving)
        return PhaseRun(
            self.classifier,
            self.data,
            phase,
            features or self.features(progress),
            applied=applied,
            starts=copies.start,
            recipe=self.recipe,
            precision=self.precision,
            strategy=self.strategy,
            progress=progress or Quiet(),
        )


@pytest.fixture(scope="session")
def make_toy(make_data, make_recipe, tmp_path_factory):
    """`make_toy(phase, …, data=…, precision=…, **recipe sections)`; equal calls give equal networks."""

    def make(
        *phases: dict, data: Data | None = None, precision: str = "float32", strategy: Any = None, **sections: Any
    ) -> Toy:
        from transferkit.model.classifier import build_classifier
        from transferkit.schedule.schedule import resolve_schedule
        from transferkit.train.placement import open_strategy

        recipe, data = make_recipe(*phases, **sections), data or make_data()
        strategy = strategy or open_strategy(recipe.runtime)
        with strategy.scope():
            classifier = build_classifier(
                recipe.model,
                TOY,
                image_size_px=recipe.data.image_size,
                num_classes=len(data.class_names),
                seed=recipe.seed,
                precision=precision,
                recompute=recipe.runtime.recompute,
            )
        schedule = resolve_schedule(
            recipe.phases,
            stages=classifier.stages,
            steps_per_epoch=balance_training(data, recipe.data).steps_per_epoch(recipe.data.batch_size),
            augment=bool(recipe.augment),
        )
        return Toy(classifier, data, recipe, schedule, precision, strategy, tmp_path_factory.mktemp)

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
