"""What is frozen is computed once: the outputs of the part below a phase's cut, for every picture it needs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil

from transferkit.data.listing import Split
from transferkit.data.load import Data
from transferkit.model.classifier import Classifier
from transferkit.progress import Progress
from transferkit.train.forward import compute_outputs

_MEMORY_SHARE = 0.5


def features_mb(shape: Sequence[int], num_images: int) -> float:
    """Memory for the float32 features of some pictures, `shape` for each."""
    return 4 * math.prod(shape) * num_images / 2**20


def memory_mb() -> float:
    """What stored features may take of the memory that is free now."""
    return _MEMORY_SHARE * psutil.virtual_memory().available / 2**20


class FeatureStore:
    """Features of the run's pictures, by split and cut, in memory.

    They stay valid for as long as nothing below their cut is trained.
    """

    def __init__(self, classifier: Classifier, data: Data, *, batch_size: int, progress: Progress) -> None:
        self._classifier, self._data = classifier, data
        self._batch_size, self._progress = batch_size, progress
        self._kept: dict[tuple[Split, int], np.ndarray] = {}
        self._lower: dict[int, Any] = {}

    def fits(self, cut: int, split: Split) -> bool:
        """Whether a split's features at a cut fit into memory beside what is there."""
        if (split, cut) in self._kept:
            return True
        return features_mb(self._classifier.input_shape(cut), len(self._data.rows[split])) <= memory_mb()

    def features(self, cut: int, split: Split) -> np.ndarray:
        """`(num_images in split, …)` float32: what enters stage `cut`, for the split's pictures in order."""
        if (split, cut) not in self._kept:
            rows = self._data.rows[split]
            if cut not in self._lower:  # one compiled function serves both splits
                self._lower[cut] = self._classifier.lower(cut)
            with self._progress.task(f"features of the frozen part, {split}", len(rows), "pictures") as task:
                self._kept[split, cut] = compute_outputs(
                    self._lower[cut], self._data.images, rows, batch_size=self._batch_size, task=task
                )
        return self._kept[split, cut]

    def forget_above(self, cut: int) -> None:
        """Drop what training from stage `cut` on makes out of date."""
        for key in [key for key in self._kept if key[1] > cut]:
            del self._kept[key]
