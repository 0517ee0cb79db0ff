"""Run a network over many rows, each once, in batches of one fixed shape."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from transferkit.progress import Quiet, Task
from transferkit.train.batches import as_input
from transferkit.train.strategy import Forward, Strategy

_log = logging.getLogger(__name__)

# Rows that one device computes at a time. A picture's outputs are then the same bits at any place in a batch and beside
# any others, which they are not between batches of different sizes.
BATCH_SIZE = 32


def compute_outputs(
    forward: Forward,
    inputs: Any,
    rows: Sequence[int] | np.ndarray,
    *,
    strategy: Strategy,
    batch_size: int = BATCH_SIZE,
    task: Task | None = None,
) -> list[np.ndarray]:
    """Outputs of networks for the given rows of `inputs`, in their order, float32; one array for each output.

    Several processes divide the rows among themselves, and each gets the outputs of all.

    Args:
        forward: of `Strategy.forward`.
        inputs: `(any, …)`, uint8 pixels or float32 features; anything that an array of positions picks rows from.
        rows: at least one.
        batch_size: for each device.
        task: told of every row done.
    """
    per_call = batch_size * strategy.num_local * strategy.num_processes
    filled = np.resize(np.asarray(rows), -(-len(rows) // per_call) * per_call)
    own = np.split(filled, strategy.num_processes)[strategy.process]
    outputs = compute_own(forward, inputs, own, strategy=strategy, batch_size=batch_size, task=task, total=len(rows))
    return [_only_once(strategy.gather(one).reshape(-1, *one.shape[1:]), len(rows)) for one in outputs]


def compute_own(
    forward: Forward,
    inputs: Any,
    rows: np.ndarray,
    *,
    strategy: Strategy,
    batch_size: int = BATCH_SIZE,
    task: Task | None = None,
    total: int | None = None,
) -> list[np.ndarray]:
    """The same for rows of this process alone.

    Args:
        total: rows of all processes together that the task waits for.
    """
    per_call, task = batch_size * strategy.num_local, task or Quiet()
    # A batch is filled up with other rows: zeros would be no picture.
    filled = np.resize(rows, -(-len(rows) // per_call) * per_call)
    parts, left = [], len(rows) if total is None else total
    for start in range(0, len(filled), per_call):
        parts.append(forward(as_input(inputs[filled[start : start + per_call]])))
        done = min(left, per_call if total is None else per_call * strategy.num_processes)
        task.advance(done)
        left -= done
    return [np.concatenate(one)[: len(rows)].astype(np.float32, copy=False) for one in zip(*parts, strict=True)]


def _only_once(outputs: np.ndarray, num_rows: int) -> np.ndarray:
    """The outputs without those that filled up the last batch, which were computed before, at another place."""
    once, again = outputs[:num_rows], outputs[num_rows:]
    if not np.array_equal(again, once[np.arange(len(again)) % num_rows], equal_nan=True):
        _warn_of_places()
    return once


@cache
def _warn_of_places() -> None:
    """Once in a process, since it is true of all that follows."""
    _log.warning(
        "this device computes a picture's outputs differently by its place in a batch: results that were stored and "
        "results that are computed again agree to rounding only"
    )


def fitting_batch_size(num_rows: int) -> int:
    """A power of two, so that few rows are quick and there are few shapes to compile."""
    return min(BATCH_SIZE, 1 << (num_rows - 1).bit_length())
