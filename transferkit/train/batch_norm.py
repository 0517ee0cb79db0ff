"""Batch norm over replicas: statistics of the whole batch, as on one device."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf


@contextmanager
def statistics_of_whole_batches(network: keras.Model) -> Iterator[None]:
    """Steps traced inside take batch statistics of all replicas' rows, not of each one's own.

    Keras' `synchronized` does that in one pass, as E(x^2) - E(x)^2, which in float32 leaves little of a variance far
    below the squared mean; ImageNet weights give such in places. It also stays with the layer, and other backends
    refuse to load a model that was saved with it.
    """
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    asked: set[str] = set()
    for layer in norms:
        layer._moments = partial(_moments, layer, asked)
    try:
        yield
    finally:
        for layer in norms:
            del layer._moments
    if own := [layer.path for layer in norms if layer.trainable and layer.path not in asked]:
        raise RuntimeError(f"this version of Keras takes batch statistics of {own[0]} in a way that is not known here")


def _moments(layer: keras.layers.BatchNormalization, asked: set[str], inputs: Any, _: Any) -> tuple[Any, Any]:
    """Mean and variance over a layer's axes and all replicas, in two passes."""
    asked.add(layer.path)
    axes = layer._reduction_axes
    replica, total = tf.distribute.get_replica_context(), tf.distribute.ReduceOp.SUM
    count = tf.cast(tf.reduce_prod(tf.gather(tf.shape(inputs), axes)), inputs.dtype)
    count, sums = replica.all_reduce(total, [count, tf.reduce_sum(inputs, axes)])
    mean = sums / count
    # By the mean itself the sum of squares does not change, so that no gradient goes that way.
    squares = tf.math.squared_difference(inputs, tf.stop_gradient(mean))
    return mean, replica.all_reduce(total, tf.reduce_sum(squares, axes)) / count
