"""Trains the toy network on JAX, and prints as JSON what came out; run by test_jax_distribution.py.

In a process of its own, since neither the backend nor the number of devices can change in a running one:

    jax_cases.py devices FOLDER   one device against two
    jax_cases.py process FILE     weights after a run that several processes may share
    jax_cases.py resume FOLDER    a run straight through, and another that stops half way; called again, that goes on
"""

import hashlib
import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from transferkit.check import check_draft
from transferkit.data.load import Data
from transferkit.model.classifier import build_classifier, probability_model
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values
from transferkit.recipe.recipe import RuntimeSpec
from transferkit.schedule.schedule import resolve_schedule
from transferkit.train.checkpoint import Checkpoints
from transferkit.train.cluster import find_cluster
from transferkit.train.features import Features
from transferkit.train.loop import train
from transferkit.train.placement import open_strategy

_SPEC = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("conftest.py"))
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules["toy"] = _MODULE
_SPEC.loader.exec_module(_MODULE)
TOY, NUM_CLASSES, SIZE_PX = _MODULE.TOY, _MODULE.NUM_CLASSES, _MODULE.SIZE_PX

RANDOM = [{"flip": "horizontal"}, {"rotate": {"degrees": 20}}, {"erase": {"probability": 0.5}}, {"mixup": 0.3}]
SEVERAL = {
    "loss": "binary_cross_entropy",
    "data": {"source": {"csv": "several.csv"}, "image_size": SIZE_PX, "batch_size": 8},
}
DROPOUT = {"weights": "none", "head": {"dropout": 0.4}}


def make_data(num_train: int, *, weighted: bool = False) -> Data:
    """Pictures of noise whose class shows in one colour, 13 for validation; `weighted`: each with its own weight."""
    draw = np.random.default_rng(0)
    total = num_train + 13
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
        digests=tuple(hashlib.sha256(image.tobytes()).digest() for image in images),
        rows=dict(zip(("train", "validation", "test"), rows, strict=True)),
        skipped=(),
    )


class Recorded(Checkpoints):
    """Keeps what is written in memory as well."""

    def __init__(self, folder: Path, *, stop_after: int = 0) -> None:
        super().__init__(folder)
        self.written: list[dict[str, np.ndarray]] = []
        self._stop_after = stop_after

    def write(self, meta: Any, arrays: Any) -> None:
        super().write(meta, arrays)
        self.written.append({name: np.array(one) for name, one in arrays.items()})
        if len(self.written) == self._stop_after:
            raise KeyboardInterrupt


class Run:
    """A toy classifier, and what training it left behind.

    Args:
        stop_after: this many checkpoints, 0 for never.
    """

    def __init__(
        self,
        strategy: Any,
        *phases: dict,
        num_train: int = 40,
        weighted: bool = False,
        precision: str = "float32",
        folder: str | None = None,
        stop_after: int = 0,
        **sections: Any,
    ) -> None:
        defaults = {"name": "phase", "train": "all", "epochs": 4, "learning_rate": 1e-2, "optimizer": "sgd"}
        values = {
            "data": {"source": "sample", "image_size": SIZE_PX, "batch_size": 8},
            "model": {"weights": "none", "head": {"dropout": 0.0}},
            **sections,
            "runtime": {"backend": "jax", **sections.get("runtime", {})},
            "phases": [{**defaults, **phase} for phase in phases],
        }
        recipe, data = check_draft(draft_values(values, source="test")), make_data(num_train, weighted=weighted)
        if recipe.multi_label:  # all classes for every other picture
            data = replace(
                data, labels=np.eye(3, dtype=bool)[data.labels] | (np.arange(num_train + 13)[:, None] % 2 == 1)
            )
        classifier = build_classifier(
            recipe.model, TOY, image_size_px=SIZE_PX, num_classes=NUM_CLASSES, seed=0, precision=precision
        )
        self.start = {path: np.array(one.numpy()) for path, one in classifier.weights().items()}
        schedule = resolve_schedule(
            recipe.phases,
            stages=classifier.stages,
            steps_per_epoch=-(-num_train // 8),
            augment=bool(recipe.augment),
        )
        checkpoints = Recorded(Path(folder or tempfile.mkdtemp()), stop_after=stop_after)
        training = train(
            classifier,
            data,
            schedule,
            recipe=recipe,
            precision=precision,
            strategy=strategy,
            progress=Quiet(),
            checkpoints=checkpoints,
        )
        if training.error:
            raise training.error
        self.classifier, self.data, self.epochs, self.strategy = classifier, data, training.epochs, strategy
        self.common = {"recipe": recipe, "precision": precision, "strategy": strategy, "progress": Quiet()}
        # The last of each; a phase's end is written without its optimizer. All but the chief write none.
        self.written = checkpoints.written
        self.state = {name: array for one in self.written for name, array in one.items()}

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        return {name: one for name, one in self.state.items() if name.startswith(prefix)}

    def digest(self) -> str:
        digest = hashlib.sha256(repr(self.epochs).encode())
        for name, one in sorted(self.written[-1].items()):
            digest.update(name.encode() + one.tobytes())
        return digest.hexdigest()


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    assert one
    return max(float(np.abs(one[name].astype(float) - other[name]).max(initial=0)) for name in one)


def compare(*phases: dict, **options: Any) -> dict[str, Any]:
    """How far two devices end from one."""
    one, two = Run(SINGLE, *phases, **options), Run(BOTH, *phases, **options)
    return compare_runs(one, two)


def compare_runs(one: Run, two: Run) -> dict[str, Any]:
    weights, more = one.named("weights/"), two.named("weights/")
    moved = {name: one.start[name.removeprefix("weights/")] for name in weights}
    losses = [[row.loss, row.accuracy, row.val_loss, row.val_accuracy, row.ema_val_loss or 0.0] for row in one.epochs]
    others = [[row.loss, row.accuracy, row.val_loss, row.val_accuracy, row.ema_val_loss or 0.0] for row in two.epochs]
    return {
        "weights": apart(weights, more),
        "state": apart(one.named("state/"), two.named("state/")),
        "moved": apart(weights, moved),
        "history": float(np.abs(np.subtract(losses, others)).max()),
    }


def accumulated() -> dict[str, Any]:
    """Also against the batch as one piece."""
    parts = {"runtime": {"gradient_accumulation_steps": 3}, "num_train": 37, "weighted": True}
    one, two = Run(SINGLE, {"clip_norm": 0.5}, **parts), Run(BOTH, {"clip_norm": 0.5}, **parts)
    undivided = Run(SINGLE, {"clip_norm": 0.5}, num_train=37, weighted=True)
    whole = apart(undivided.named("weights/"), one.named("weights/"))
    return {**compare_runs(one, two), "from_undivided": whole}


def float16() -> dict[str, Any]:
    """A loss scale that is too large for the wrongly classified rows of a batch."""
    usual = keras.optimizers.LossScaleOptimizer

    class Larger(usual):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner, initial_scale=2.0**22)

    keras.optimizers.LossScaleOptimizer = Larger
    try:
        one, two = (Run(each, {"learning_rate": 1e-3}, precision="mixed_float16") for each in (SINGLE, BOTH))
    finally:
        keras.optimizers.LossScaleOptimizer = usual
    scale = max(float(one) for one in two.named("state/").values() if one.ndim == 0)
    finite = all(np.isfinite(array).all() for array in two.state.values())
    return {**compare_runs(one, two), "scale": scale, "is_finite": finite}


def feature_store() -> dict[str, Any]:
    """Head only: nothing stored yet, then all of it; on one device, on two."""
    homes, digests = {}, {}
    for name, strategy in (("one", SINGLE), ("two", BOTH)):
        homes[name] = tempfile.mkdtemp()
        for again in ("cold", "warm"):
            run = Run(strategy, {"train": "head"}, cache={"folder": homes[name]})
            digests[f"{name} {again}"] = run.digest()
        digests[f"{name} off"] = Run(strategy, {"train": "head"}, cache={"features": "none"}).digest()
        features = Features(run.classifier, run.data, **run.common)
        rows = features.computed(3, "validation")[np.arange(13)]
        digests[f"{name} features"] = hashlib.sha256(rows.tobytes()).hexdigest()
    return digests


def save_model(folder: Path) -> None:
    """A model file and what it predicts here."""
    model = probability_model(Run(BOTH, {"epochs": 1}).classifier.network)
    images = make_data(40).images[:16].astype("float32")
    model.save(folder / "model.keras")
    np.savez(folder / "predicted.npz", images=images, probabilities=np.asarray(model.predict(images, verbose=0)))


CASES = {
    "adamw": lambda: compare({"weight_decay": 0.1, "optimizer": "adamw", "learning_rate": 1e-3}),
    "sgd": lambda: compare({"optimizer": {"name": "sgd", "momentum": 0.9}, "l2_sp": 0.1}),
    "clipped": lambda: compare({"clip_norm": 0.05}),
    "uneven": lambda: compare({}, num_train=37, **SEVERAL),
    "smaller": lambda: compare({}, num_train=33, weighted=True),
    "batch_norm": lambda: compare({"batch_norm": "train"}, num_train=37),
    "random": lambda: compare({}, num_train=37, model=DROPOUT, augment=RANDOM),
    "accumulated": accumulated,
    "averaged": lambda: compare({"ema": 0.9}),
    "float16": float16,
    "two_phases": lambda: compare(
        {"name": "warm-up", "train": "head", "epochs": 2},
        {"name": "fine-tune", "train": {"last_stages": 1}, "epochs": 2, "optimizer": "adam", "learning_rate": 1e-3},
        num_train=37,
    ),
    "feature_store": feature_store,
}


def compare_devices(folder: Path) -> None:
    results: dict[str, Any] = {name: case() for name, case in CASES.items()}
    results["process"] = run_shared(folder / "alone.npz", SINGLE)
    results |= {"has_tensorflow": "tensorflow" in sys.modules, "devices": BOTH.num_replicas}
    save_model(folder)
    print(json.dumps(results))


def run_shared(file: Path, strategy: Any) -> dict[str, Any]:
    run = Run(strategy, {"batch_norm": "train", "epochs": 2}, num_train=37, model=DROPOUT, augment=RANDOM[:1])
    weights = {path: one.numpy() for path, one in run.classifier.weights().items()}
    np.savez(file, **{path.replace("/", "|"): one for path, one in weights.items()})
    return {"processes": strategy.num_processes, "history": [row.val_loss for row in run.epochs]}


def resume(folder: Path) -> None:
    phase = {"epochs": 2, "optimizer": "adam", "ema": 0.9, "batch_norm": "train", "learning_rate": 1e-3}
    options = {"model": DROPOUT, "augment": RANDOM, "num_train": 37}
    if folder.exists():
        print(json.dumps({"resumed": Run(SINGLE, phase, folder=str(folder), **options).digest()}))
        return
    straight = Run(SINGLE, phase, **options).digest()
    stopped = Run(SINGLE, phase, folder=str(folder), stop_after=1, **options)
    print(json.dumps({"straight": straight, "whole_epochs_at_stop": len(stopped.epochs)}))


if __name__ == "__main__":
    os.environ["TRANSFERKIT_HOME"] = tempfile.mkdtemp()
    command, target = sys.argv[1], Path(sys.argv[2])
    runtime = RuntimeSpec(backend="jax", strategy="data_parallel")
    if command == "process":
        cluster = find_cluster(os.environ, strategy="data_parallel", backend="jax")
        print(json.dumps(run_shared(target, open_strategy(runtime, cluster))))
    else:
        BOTH, SINGLE = open_strategy(runtime), open_strategy(RuntimeSpec(backend="jax", strategy="single"))
        (compare_devices if command == "devices" else resume)(target)
