"""Training batches in an order that is a pure function of the seed and the epoch."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from transferkit.train.strategy import Strategy

# Small rows are gathered for several batches at once, since each hand-over between threads takes its time.
_GROUP_BYTES = 2**23
_GROUPS_AHEAD = 2


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `num_rows` positions for one epoch of the run."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def batch_labels(labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Labels as `training_batches` and steps take them.

    Args:
        labels: as `Data` has them: `(num_rows,)` int32 or `(num_rows, num_classes)` bool.
        weights: `(num_rows,)` float32, what each counts; they become a last column.
    """
    if weights is None:
        return labels
    columns = labels[:, None] if labels.ndim == 1 else labels
    return np.concatenate([columns.astype(np.float32), weights[:, None]], axis=1)


def as_input(rows: np.ndarray) -> np.ndarray:
    """Rows as a network takes them: what is stored as float16 is float32 again."""
    return rows.astype(np.float32) if rows.dtype == np.float16 else rows


def training_batches(
    inputs: Any, rows: np.ndarray, labels: np.ndarray, *, batch_size: int, strategy: Strategy, first: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """This process's part of each batch and the number of rows of the whole one; the last batch may be smaller.

    A thread reads ahead.

    Args:
        inputs: `(any, …)`, in memory or on disk; anything with a shape and a dtype that an array of positions picks
            rows from.
        rows: positions in `inputs`, in the order in which they train.
        labels: `(len(rows), …)` of `batch_labels`, in the same order.
        first: the batch to begin with.
    """
    row_bytes = int(np.prod(inputs.shape[1:])) * np.dtype(inputs.dtype).itemsize
    group = max(1, _GROUP_BYTES // (row_bytes * batch_size)) * batch_size

    def read(start: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
        own, sizes = [], []
        for begin in range(start, min(start + group, len(rows)), batch_size):
            size = min(batch_size, len(rows) - begin)
            sizes.append(size)
            own.append(np.arange(begin, begin + size)[strategy.own_rows(size)])
        together = np.concatenate(own)
        ends = np.cumsum([len(one) for one in own])[:-1]
        pictures, their_labels = as_input(inputs[rows[together]]), labels[together]
        return list(zip(np.split(pictures, ends), np.split(their_labels, ends), sizes, strict=True))

    with ThreadPoolExecutor(1) as pool:
        waiting: deque = deque()
        for start in range(first * batch_size, len(rows), group):
            waiting.append(pool.submit(read, start))
            if len(waiting) > _GROUPS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
