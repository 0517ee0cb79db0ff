"""Trains a toy network on one device and on two replicas, and prints as JSON how far apart they end.

Run by test_distribution_mirrored.py in a process of its own: a machine's CPU can be divided into logical devices only
before TensorFlow starts. As one of two processes of a cluster it does the same under multi_worker.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from transferkit.backbones.preprocess import minus_one_to_one
from transferkit.backbones.spec import BackboneSpec
from transferkit.check import check_draft
from transferkit.data.balance import balance_training
from transferkit.data.load import Data
from transferkit.model.classifier import build_classifier, probability_model
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values
from transferkit.recipe.recipe import RuntimeSpec
from transferkit.schedule.schedule import resolve_schedule
from transferkit.train.apply import apply_trainable
from transferkit.train.batch_norm import statistics_of_whole_batches
from transferkit.train.batches import batch_labels
from transferkit.train.checkpoint import Checkpoints
from transferkit.train.cluster import CLUSTER_VARIABLE, find_cluster
from transferkit.train.copies import WeightCopies
from transferkit.train.features import Features
from transferkit.train.forward import compute_outputs
from transferkit.train.loop import train
from transferkit.train.phase_run import PhaseRun
from transferkit.train.placement import open_strategy
from transferkit.train.trainer import COUNT

NUM_CLASSES, SIZE_PX, BATCH_SIZE = 3, 32, 8
NUM_UNEVEN = 7

Arrays = dict[str, np.ndarray]


def build_toy(*, input_tensor: Any) -> keras.Model:
    """Three stages, batch norm, a residual sum."""

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
    build=build_toy,
    preprocess=minus_one_to_one,
    image_size_px=SIZE_PX,
    min_size_px=8,
    feature_dim=24,
    stage_ends=("first_relu", "second_add", "third_relu"),
    imagenet=lambda backbone: None,
    licence="none",
    source="made for the tests",
)


def make_data(num_train: int, num_validation: int = 13, *, weighted: bool = False) -> Data:
    """Pictures of noise whose class shows in one colour; `weighted`: each with its own weight."""
    draw = np.random.default_rng(0)
    total = num_train + num_validation
    labels = (np.arange(total) % NUM_CLASSES).astype(np.int32)
    images = draw.integers(0, 150, (total, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    images[np.arange(total), :, :, labels] += 60
    rows = np.split(draw.permutation(total), [num_train, total])
    return Data(
        class_names=("red", "green", "blue"),
        images=images,
        labels=labels,
        weights=np.linspace(0, 2, total, dtype=np.float32) if weighted else np.ones(total, np.float32),
        paths=tuple(map(str, range(total))),
        digests=tuple(number.to_bytes(32, "big") for number in range(total)),
        rows=dict(zip(("train", "validation", "test"), rows, strict=True)),
        skipped=(),
    )


def with_several_classes(data: Data) -> Data:
    """All classes for every other picture."""
    odd = np.arange(len(data.labels))[:, None] % 2 == 1
    return replace(data, labels=np.eye(NUM_CLASSES, dtype=bool)[data.labels] | odd)


def with_few_reds(data: Data) -> Data:
    """Without two thirds of one class's training pictures."""
    rows = data.rows["train"]
    kept = (data.labels[rows] > 0) | (np.arange(len(rows)) % 3 == 0)
    return replace(data, rows={**data.rows, "train": rows[kept]})


class Stopping(Checkpoints):
    """Ends the run, as Ctrl-C does, when it has written so many checkpoints."""

    def __init__(self, folder: Path, *, after: int) -> None:
        super().__init__(folder)
        self._left = after

    def write(self, meta: Any, arrays: Any) -> None:
        super().write(meta, arrays)
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


class Recorded(Checkpoints):
    """Keeps checkpoints in memory."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.written: list[dict[str, np.ndarray]] = []

    def write(self, meta: Any, arrays: Any) -> None:
        self.written.append({name: np.array(one) for name, one in arrays.items()})


class Run:
    """A toy classifier under a strategy, with a recipe, its schedule and data."""

    def __init__(
        self,
        strategy: Any,
        phases: Any,
        *,
        num_train: int,
        precision: str = "float32",
        weighted: bool = False,
        few_reds: bool = False,
        **sections: Any,
    ):
        defaults = {"name": "phase", "train": "all", "epochs": 4, "learning_rate": 1e-2}
        values = {
            "data": {"source": "sample", "image_size": SIZE_PX, "batch_size": BATCH_SIZE},
            "model": {"weights": "none", "head": {"dropout": 0.0}},
            "cache": {"folder": tempfile.mkdtemp()},
            **sections,
            "phases": [{**defaults, **phase} for phase in phases],
        }
        self.recipe = check_draft(draft_values(values, source="test"))
        self.data = make_data(num_train, weighted=weighted)
        if self.recipe.multi_label:
            self.data = with_several_classes(self.data)
        if few_reds:
            self.data = with_few_reds(self.data)
        with strategy.scope():
            self.classifier = build_classifier(
                self.recipe.model, TOY, image_size_px=SIZE_PX, num_classes=NUM_CLASSES, seed=0, precision=precision
            )
        self.schedule = resolve_schedule(
            self.recipe.phases,
            stages=self.classifier.stages,
            steps_per_epoch=balance_training(self.data, self.recipe.data).steps_per_epoch(BATCH_SIZE),
            augment=bool(self.recipe.augment),
        )
        common = {"recipe": self.recipe, "precision": precision, "strategy": strategy, "progress": Quiet()}
        self.common = common
        self.features = Features(self.classifier, self.data, **common)

    def train(self) -> tuple[Arrays, list[Any]]:
        """Weights, averages and optimizer state after the last step, and the history."""
        checkpoints = Recorded()
        training = train(self.classifier, self.data, self.schedule, checkpoints=checkpoints, **self.common)
        if training.error:
            raise training.error
        # The last checkpoint is of the phase's end, without its optimizer; the one before of the last epoch's.
        return {**checkpoints.written[-2], **checkpoints.written[-1]}, training.epochs

    def phase_run(self) -> PhaseRun:
        copies = WeightCopies()
        phase = self.schedule[0]
        applied = apply_trainable(self.classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
        copies.watch(applied.moving)
        return PhaseRun(
            self.classifier, self.data, phase, self.features, applied=applied, starts=copies.start, **self.common
        )


def values_by_replica(variable: Any) -> list[np.ndarray]:
    return [one.numpy() for one in getattr(variable.value, "values", (variable.value,))]


def replicas_apart(variables: Iterable[Any], strategy: Any) -> float:
    """The largest difference between this process's copies of any variable."""
    copies = [values_by_replica(one) for one in variables]
    assert all(len(one) == strategy.num_local for one in copies)
    return max(largest(one[0].astype(float) - one[-1]) for one in copies)


def largest(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0))


def apart(one: Arrays, other: Arrays, *, among: str) -> float:
    """The largest difference in arrays whose name holds a text; where numbers are above 1, in relation to them."""
    assert one.keys() == other.keys()
    differences = [
        largest((one[name].astype(float) - other[name]) / np.maximum(1.0, np.abs(one[name].astype(float))))
        for name in one
        if among in name
    ]
    return max(differences, default=0.0)


class Comparison:
    """One device and the replicas, side by side."""

    def __init__(self, single: Any, replicated: Any) -> None:
        self.single, self.replicated = single, replicated

    def trained(self, *phases: dict, num_train: int = 40, **options: Any) -> dict[str, Any]:
        """How far the replicas end from one device."""
        alone, both = (self._run(one, phases, num_train, options) for one in (self.single, self.replicated))
        start = {path: variable.numpy() for path, variable in alone.classifier.weights().items()}
        same_start = all(np.array_equal(start[path], one.numpy()) for path, one in both.classifier.weights().items())
        (one, rows), (two, more_rows) = alone.train(), both.train()
        weights = {name.removeprefix("weights/"): array for name, array in one.items() if name.startswith("weights/")}
        numbers = [
            [(row.loss, row.accuracy, row.val_loss, row.val_accuracy, row.ema_val_loss or 0.0) for row in history]
            for history in (rows, more_rows)
        ]
        return {
            "same_start": same_start,
            "steps": sum(phase.num_steps for phase in alone.schedule),
            "moved": max(largest(array - start[path]) for path, array in weights.items()),
            "weights": apart(one, two, among="weights/"),
            "statistics": apart(one, two, among="/moving_"),
            "state": apart(one, two, among="state/"),
            "averaged_loss": [history[-1].ema_val_loss for history in (rows, more_rows)],
            "history": largest(np.subtract(*numbers)),
            "replicas": replicas_apart(both.classifier.weights().values(), self.replicated),
        }

    def _run(self, strategy: Any, phases: Iterable[dict], num_train: int, options: dict) -> Run:
        return Run(strategy, phases, num_train=num_train, **options)

    def first_step(self, phase: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        """How far apart the gradients and sums of one step are, of weighted pictures that nobody can share evenly."""
        phase = {"optimizer": {"name": "sgd", "momentum": 0.9}, "weight_decay": 0.0, **phase}
        found = []
        for strategy in (self.single, self.replicated):
            run = self._run(strategy, [phase], 40, {"weighted": True, **options}).phase_run()
            data, rows = run._data, run._data.rows["train"]
            batch = data.images[rows], batch_labels(data.labels[rows], run._balance.weights)
            own = [one[:NUM_UNEVEN][strategy.own_rows(NUM_UNEVEN)] for one in batch]
            run.steps.run(*own, num_rows=NUM_UNEVEN, step=0, rate=1.0)
            # At a rate of 1 the momentum after the first step is minus the gradient.
            gradients = np.concatenate([one.numpy().ravel() for one in run.trainer.optimizer.momentums])
            found.append((gradients, run.steps.read_sums()))
        (one, sums), (two, more_sums) = found
        return {
            "gradients": float(np.linalg.norm(one - two) / np.linalg.norm(one)),
            "sums": largest((sums - more_sums) / np.maximum(1.0, sums)),
            "rows": float(sums[COUNT]),
        }

    def moments(self) -> dict[str, Any]:
        """Batch norm over uneven replicas, of numbers whose spread is far below their mean."""
        strategy = self.replicated
        with strategy.scope():
            pixels = keras.Input((4, 4, 3))
            layer = layers.BatchNormalization(momentum=0.0)  # it stores the statistics of the last batch
            network = keras.Model(pixels, layer(pixels))
        numbers = np.random.default_rng(0).normal(1000, 1, (NUM_UNEVEN, 4, 4, 3)).astype(np.float32)

        @tf.function
        def normalise(rows: Any) -> None:
            strategy.distribution.run(lambda own: network(own, training=True), args=(rows,))

        shares = [strategy.shares(NUM_UNEVEN)[replica] for replica in strategy.own_replicas]
        with statistics_of_whole_batches(network):
            normalise(strategy.per_replica([tf.constant(numbers[one]) for one in shares]))
        mean, variance = (one.numpy().astype(float) for one in (layer.moving_mean, layer.moving_variance))
        truth = numbers.astype(float)
        return {
            "mean": largest(mean / truth.mean(axis=(0, 1, 2)) - 1),
            "variance": largest(variance / truth.var(axis=(0, 1, 2)) - 1),
            "restored": layer._moments == type(layer)._moments.__get__(layer),
        }

    def resumed(self) -> dict[str, Any]:
        """Oversampled pictures of different weight, trained straight through and stopped within the second epoch."""
        imbalance = {"source": "sample", "image_size": SIZE_PX, "batch_size": BATCH_SIZE, "imbalance": "oversample"}
        options = {"weighted": True, "few_reds": True, "data": imbalance, "checkpoint": {"every": "1 steps"}}
        phase = {"train": {"last_stages": 1}, "optimizer": "adamw", "batch_norm": "train", "epochs": 2}
        folder, ends = Path(tempfile.mkdtemp()), []
        for checkpoints in (Recorded(), Stopping(folder, after=7), Checkpoints(folder)):
            run = Run(self.replicated, [phase], num_train=37, **options)
            training = train(run.classifier, run.data, run.schedule, checkpoints=checkpoints, **run.common)
            weights = {path: one.numpy() for path, one in run.classifier.weights().items()}
            ends.append((weights, training))
        (straight, undisturbed), (_, stopped), (later, gone_on) = ends
        return {
            "steps_per_epoch": run.schedule[0].steps_per_epoch,
            "epochs": [len(training.epochs) for _, training in ends],
            "interrupted": stopped.interrupted,
            "apart": apart(straight, later, among=""),
            "same_history": undisturbed.epochs == gone_on.epochs,
        }

    def overflow(self) -> dict[str, Any]:
        """A step in float16 whose gradients are finite on the first replica only, then an ordinary one."""
        phase = {"train": {"last_stages": 1}, "optimizer": "sgd"}
        found: dict[str, list[Any]] = {"skipped": [], "scales": [], "moved": [], "weights": []}
        for strategy in (self.single, self.replicated):
            run = self._run(strategy, [phase], 40, {"precision": "mixed_float16"}).phase_run()
            optimizer, trained = run.trainer.optimizer, run.applied.trained.values()
            labels = (np.arange(BATCH_SIZE) % NUM_CLASSES).astype(np.int32)
            inputs = np.random.default_rng(0).random((BATCH_SIZE, *run.trainer.network.input_shape[1:]), np.float32)
            bad = inputs.copy()
            bad[-1] = 6e4
            scale = float(optimizer.dynamic_scale.numpy())
            before = [one.numpy() for one in trained]
            run.steps.run(bad, labels, num_rows=BATCH_SIZE, step=0, rate=0.1)
            after = [one.numpy() for one in trained]
            found["skipped"].append(all(map(np.array_equal, before, after)))
            found["scales"] += [float(one) / scale for one in values_by_replica(optimizer.dynamic_scale)]
            run.steps.run(inputs, labels, num_rows=BATCH_SIZE, step=1, rate=0.1)
            later = [one.numpy() for one in trained]
            found["moved"].append(max(map(largest, map(np.subtract, later, after))))
            found["weights"].append(later)
            apart_now = replicas_apart(trained, strategy)
        one, two = found.pop("weights")
        return {**found, "apart": max(map(largest, map(np.subtract, one, two))), "replicas": apart_now}

    def draws(self) -> dict[str, Any]:
        """What dropout and augmentation draw for the same pictures on each replica, and training with them, twice."""
        sections = {
            "model": {"weights": "none", "head": {"dropout": 0.5}},
            "augment": [{"flip": "horizontal"}, {"rotate": {"degrees": 20}}],
        }
        phase = {"optimizer": "sgd", "batch_norm": "train"}
        run = self._run(self.replicated, [phase], 40, sections).phase_run()
        trainer, strategy = run.trainer, self.replicated
        pictures, labels = run._data.images[:BATCH_SIZE], run._data.labels[:BATCH_SIZE]

        @tf.function
        def draw(step: Any) -> Any:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            with trainer.draws.at(step, replica=replica):
                augmented, _ = trainer.mixed(tf.constant(pictures), tf.constant(labels))
                # On the pictures as they are, so that only dropout can tell replicas apart.
                return augmented, trainer.network(tf.cast(pictures, tf.float32), training=True)

        def drawn(step: int) -> list[list[np.ndarray]]:
            results = strategy.distribution.run(draw, args=(tf.constant(step, tf.int64),))
            return [[part.numpy() for part in strategy.local_values(one)] for one in results]

        first, again, later = drawn(0), drawn(0), drawn(1)
        (one, history), (two, _) = (self._run(strategy, [phase], 37, sections).train() for _ in range(2))
        _, alone = self._run(self.single, [phase], 37, sections).train()
        return {
            "differ_between_replicas": [not np.allclose(*values) for values in first],
            "same_again": all(np.array_equal(a, b) for a, b in zip(sum(first, []), sum(again, []), strict=True)),
            "differ_between_steps": [not np.allclose(a[0], b[0]) for a, b in zip(first, later, strict=True)],
            "trained_again": apart(one, two, among=""),
            "losses": [row.loss for row in history],
            "losses_alone": [row.loss for row in alone],
        }

    def features(self) -> dict[str, Any]:
        """Whether stored features of all cuts are the same bits, and outputs for any number of rows."""
        phases = [{"name": "a", "train": "head"}, {"name": "b", "train": {"last_stages": 1}}]
        stored, outputs = [], []
        for strategy in (self.single, self.replicated):
            run = self._run(strategy, phases, 70, {})
            run.features.prepare([2, 3], "train")
            stored.append([run.features.rows(cut, "train")[np.arange(70)] for cut in (2, 3)])
            forward = strategy.forward([run.classifier.network])
            outputs.append(
                {
                    length: compute_outputs(forward, run.data.images, np.arange(length)[::-1], strategy=strategy)[0]
                    for length in (1, 31, 32, 33, 65)
                }
            )
        (one, two), (few, many) = stored, outputs
        return {
            "features_equal": [np.array_equal(a, b) for a, b in zip(one, two, strict=True)],
            "lengths_equal": {length: np.array_equal(rows, many[length]) for length, rows in few.items()},
            "rows": {length: len(rows) for length, rows in many.items()},
        }

    def saved(self) -> dict[str, Any]:
        """Whether a saved model that is loaded again predicts what the replicas do."""
        run = self._run(self.replicated, [{"optimizer": "sgd", "batch_norm": "train", "epochs": 1}], 40, {})
        run.train()
        model = probability_model(run.classifier.network)
        forward = self.replicated.forward([model])
        (here,) = compute_outputs(forward, run.data.images, np.arange(20), strategy=self.replicated)
        path = Path(tempfile.mkdtemp(), "model.keras")
        model.save(path)
        loaded = self.single.forward([keras.saving.load_model(path, compile=False)])
        (there,) = compute_outputs(loaded, run.data.images, np.arange(20), strategy=self.single)
        # Other backends refuse to load a layer that is to be synchronized.
        needs_tensorflow = [one.name for one in model.layers if getattr(one, "synchronized", False)]
        return {"apart": largest(here - there), "sum": float(here.sum()), "needs_tensorflow": needs_tensorflow}

    def cases(self) -> dict[str, Any]:
        sgd, loss = {"optimizer": "sgd"}, {"cross_entropy": {"label_smoothing": 0.1}}
        warm_up = {"name": "warm-up", "train": "head", "epochs": 2}
        last_stage = {**sgd, "name": "fine-tune", "train": {"last_stages": 1}, "epochs": 2}
        odd = {"source": "sample", "image_size": SIZE_PX, "batch_size": 7}
        penalty = {"weights": "none", "head": {"weight_decay": 0.1, "dropout": 0.0}}
        learns = {**sgd, "batch_norm": "train"}
        several = {"source": {"csv": "several.csv"}, "image_size": SIZE_PX, "batch_size": BATCH_SIZE}
        return {
            "adamw": lambda: self.trained({"weight_decay": 0.1, "stage_decay": 0.5, "ema": 0.9}),
            "clipped": lambda: self.trained({"optimizer": {"name": "sgd", "momentum": 0.9}, "clip_norm": 0.05}),
            "uneven": lambda: self.trained({**sgd, "l2_sp": 0.1}, num_train=37, loss=loss),
            "too_few": lambda: self.trained(sgd, num_train=33, model=penalty, weighted=True),
            "batch_norm": lambda: self.trained(learns, num_train=37),
            "batch_norm_too_few": lambda: self.trained(learns, num_train=33),
            "accumulated": lambda: self.trained(
                {**sgd, "clip_norm": 0.5},
                num_train=37,
                runtime={"gradient_accumulation_steps": 3},
                weighted=True,
            ),
            "balanced": lambda: self.trained(
                sgd,
                num_train=37,
                data={"source": "sample", "image_size": SIZE_PX, "batch_size": BATCH_SIZE, "imbalance": "class_weight"},
                loss={"focal": {"gamma": 2.0}},
                weighted=True,
            ),
            "two_phases": lambda: self.trained(warm_up, last_stage, num_train=33, data=odd),
            "head": lambda: self.trained({"train": "head"}),
            "first_frozen": lambda: self.first_step({"l2_sp": 0.1}, loss=loss),
            "first_affine": lambda: self.first_step({"batch_norm": "affine"}, loss="focal"),
            "first_train": lambda: self.first_step({"batch_norm": "train"}, data=several, loss="binary_cross_entropy"),
            "first_balanced": lambda: self.first_step(
                {"batch_norm": "train"}, few_reds=True, data={**odd, "imbalance": "class_weight"}
            ),
            "moments": self.moments,
            "resumed": self.resumed,
            "overflow": self.overflow,
            "draws": self.draws,
            "features": self.features,
            "saved": self.saved,
        }


def open_strategies() -> tuple[Any, Any]:
    """One device, and two replicas: of two processes, or of this one."""
    if CLUSTER_VARIABLE in os.environ:
        cluster = find_cluster(os.environ, strategy="multi_worker", backend="tensorflow")
        replicated = open_strategy(RuntimeSpec(strategy="multi_worker"), cluster)
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        replicated = open_strategy(RuntimeSpec(strategy="mirrored"))
    return open_strategy(RuntimeSpec(strategy="single")), replicated


def main() -> None:
    cases = Comparison(*open_strategies()).cases()
    results = {}
    for name in sys.argv[1:] or cases:
        started = time.process_time()
        results[name] = cases[name]()
        print(f"{name}: {results[name]} {time.process_time() - started:.1f}", file=sys.stderr, flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
