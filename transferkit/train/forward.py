"""Run a network over many rows, each once, in batches of one fixed shape."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.progress import Quiet, Task


def compute_outputs(
    network: Any, inputs: np.ndarray, rows: Sequence[int] | np.ndarray, *, batch_size: int, task: Task | None = None
) -> np.ndarray:
    """Outputs of `network` for the given rows of `inputs`, in their order, float32.

    The last batch is padded and cut back: outputs change in their last bits with the batch's shape, so every row is
    computed in the same one. Few rows take a smaller shape, a power of two, so that there are few shapes to compile.

    Args:
        inputs: `(any, …)`, uint8 pixels or float32 features.
        task: told of every row done.
    """
    if not network.compiled:
        network.compile(jit_compile=False)
    batch_size = min(batch_size, 1 << (len(rows) - 1).bit_length()) if len(rows) else batch_size
    done: np.ndarray | None = None
    task = task or Quiet()
    for start in range(0, len(rows), batch_size):
        # Pixels stay bytes until they are on the device, where the network makes them float32.
        batch = inputs[rows[start : start + batch_size]]
        num_rows = len(batch)
        if num_rows < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - num_rows, *batch.shape[1:]), batch.dtype)])
        output = network.predict_on_batch(batch)[:num_rows]
        if done is None:
            done = np.empty((len(rows), *output.shape[1:]), np.float32)
        done[start : start + num_rows] = output
        task.advance(num_rows)
    return done if done is not None else np.empty((0, *network.output_shape[1:]), np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the softmax, in float64; `(num_rows, num_classes)`. Infinite logits give NaN."""
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
