"""Training batches in an order that is a pure function of the seed and the epoch."""

from typing import Any

import numpy as np


def epoch_order(num_rows: int, *, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `num_rows` positions for one epoch of the run."""
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


def training_batches(inputs: np.ndarray, rows: np.ndarray, labels: np.ndarray, *, batch_size: int) -> Any:
    """A `tf.data.Dataset` of `(inputs, labels)` batches, of known length; the last one may be smaller.

    Args:
        inputs: `(any, …)`, in memory or mapped from disk.
        rows: positions in `inputs`, in the order in which they train.
        labels: `(len(rows),)` int32, in the same order.
    """
    import tensorflow as tf

    def gather(chosen: np.ndarray) -> np.ndarray:
        return inputs[chosen]

    def read(chosen: Any, batch_labels: Any) -> tuple[Any, Any]:
        batch = tf.numpy_function(gather, [chosen], tf.as_dtype(inputs.dtype), stateful=False)
        batch.set_shape((None, *inputs.shape[1:]))
        return batch, batch_labels

    dataset = tf.data.Dataset.from_tensor_slices((rows, labels)).batch(batch_size)
    return dataset.map(read, num_parallel_calls=1, deterministic=True).prefetch(2)
