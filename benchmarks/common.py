"""What the measurements of the engine share: pictures, the two sides, and where figures go."""

import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

RESULTS = Path(__file__).parent / "results"
NUM_CLASSES = 10


def draw_pictures(num_images: int, size_px: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a coloured square that tells the class: `(num_images, size, size, 3)` uint8, and labels int32."""
    draw = np.random.default_rng(seed)
    labels = (np.arange(num_images) % NUM_CLASSES).astype(np.int32)
    images = draw.integers(0, 120, (num_images, size_px, size_px, 3), dtype=np.uint8)
    side = size_px // 4
    for image, label in zip(images, labels, strict=True):
        row, column = draw.integers(0, size_px - side, 2)
        image[row : row + side, column : column + side, label % 3] = 120 + 13 * label
    return images, labels


def make_data(images: np.ndarray, labels: np.ndarray, *, num_train: int) -> Any:
    """The same pictures as transferkit's `Data`: the first ones train, the rest validate."""
    from transferkit.data.load import Data

    rows = np.arange(len(images))
    return Data(
        class_names=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        images=images,
        labels=labels,
        weights=np.ones(len(rows), np.float32),
        paths=tuple(map(str, rows)),
        digests=tuple(int(row).to_bytes(32) for row in rows),
        rows={"train": rows[:num_train], "validation": rows[num_train:], "test": rows[:0]},
        skipped=(),
    )


@dataclass
class Hook:
    """A progress that does something after every epoch and takes its time out of ours."""

    after_epoch: Callable[[], None] = lambda: None
    away_s: float = 0.0
    lines: list[str] = field(default_factory=list)

    @contextmanager
    def task(self, what: str, total: int, unit: str = "") -> Iterator["Hook"]:
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("epoch"):
            start_s = time.perf_counter()
            self.after_epoch()
            self.away_s += time.perf_counter() - start_s


class PrivateMemory:
    """The most memory that is this process's own; files that are mapped count only while they are changed."""

    def __init__(self) -> None:
        self._process, self._stop = psutil.Process(), threading.Event()
        self.start_mb = self.peak_mb = self._now_mb()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _now_mb(self) -> float:
        info = self._process.memory_info()
        return (info.rss - info.shared) / 2**20

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak_mb = max(self.peak_mb, self._now_mb())

    def grown_mb(self) -> float:
        self._stop.set()
        return self.peak_mb - self.start_mb


def train_ours(
    data: Any, recipe: Any, *, hook: Hook | None = None, cache: Path | None = None
) -> tuple[float, Sequence[Any]]:
    """Seconds that transferkit trains, without loading and evaluation, and its history.

    Args:
        hook: its own time does not count.
        cache: folder of stored features; default an empty one.
    """
    from transferkit.backbones.table import BACKBONES
    from transferkit.model.classifier import build_classifier
    from transferkit.schedule.schedule import resolve_schedule
    from transferkit.train.checkpoint import Checkpoints
    from transferkit.train.loop import train
    from transferkit.train.placement import open_strategy

    hook = hook or Hook()
    classifier = build_classifier(
        recipe.model,
        BACKBONES[recipe.model.backbone],
        image_size_px=recipe.data.image_size,
        num_classes=NUM_CLASSES,
        seed=recipe.seed,
    )
    schedule = resolve_schedule(
        recipe.phases,
        stages=classifier.stages,
        steps_per_epoch=-(-len(data.rows["train"]) // recipe.data.batch_size),
        augment=bool(recipe.augment),
    )
    with tempfile.TemporaryDirectory() as folder:
        own_cache = recipe.cache.model_copy(update={"folder": str(cache or Path(folder) / "cache")})
        recipe = recipe.model_copy(update={"cache": own_cache})
        start_s = time.perf_counter()
        training = train(
            classifier,
            data,
            schedule,
            recipe=recipe,
            precision="float32",
            strategy=open_strategy(recipe.runtime),
            progress=hook,
            checkpoints=Checkpoints(Path(folder) / "checkpoints"),
        )
        seconds = time.perf_counter() - start_s - hook.away_s
    if training.error:
        raise training.error
    return seconds, training.epochs


def make_recipe(backbone: str, size_px: int, phases: Sequence[Mapping[str, Any]], **sections: Any) -> Any:
    """A checked recipe with batches of 16 and nothing random in its phases."""
    from transferkit.check import check_draft
    from transferkit.recipe.draft import draft_values

    values = {
        "data": {"source": "sample", "image_size": size_px, "batch_size": 16},
        "model": {"backbone": backbone, "weights": "none", "head": {"dropout": 0.2}},
        "seed": 0,
        **sections,
        "phases": phases,
    }
    return check_draft(draft_values(values, source="benchmark"))


def write_results(name: str, command: str, figures: Mapping[str, Any]) -> None:
    """`benchmarks/results/<name>.json`, with the machine and the versions."""
    machine = {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[2], 2),
        **{name: version(name) for name in ("keras", "tensorflow", "numpy")},
        "python": platform.python_version(),
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"command": command, **machine, **figures}, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text)
