"""From what a recipe says of the runtime to a strategy."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transferkit.errors import RuntimeSetupError
from transferkit.recipe.recipe import RuntimeSpec
from transferkit.train.cluster import Cluster, tf_config_of
from transferkit.train.runtime import list_devices
from transferkit.train.strategy import Strategy


def open_strategy(spec: RuntimeSpec, cluster: Cluster | None = None) -> Strategy:
    """The strategy of a run; call it once in a process, before any network is built.

    `auto` takes all devices of this machine, and never more than this machine.

    Args:
        cluster: the processes of the run, where there are several.

    Raises:
        RuntimeSetupError: the devices that the recipe asks for are not there.
    """
    strategy = None
    if spec.backend == "jax":  # before devices are listed: a process joins the others first of all
        from transferkit.train.jax_strategy import JaxStrategy

        with _keeping_sigterm():
            strategy = JaxStrategy(spec.strategy, cluster)
    devices = list_devices()
    if spec.strategy == "tpu" and devices[0].kind != "TPU":
        raise RuntimeSetupError(
            f"runtime.strategy is tpu, but JAX finds {len(devices)} x {devices[0].kind} on this machine.\n"
            'Install JAX for TPUs (pip install "jax[tpu]"), or set runtime.strategy: auto.'
        )
    return strategy or _tensorflow(spec, cluster, on_gpu=devices[0].kind == "GPU")


def local_strategy() -> Strategy:
    """One device of this machine, on the backend that Keras runs on; for a saved model."""
    import keras

    if keras.config.backend() == "jax":
        from transferkit.train.jax_strategy import JaxStrategy

        return JaxStrategy("single", None)
    return _tensorflow(RuntimeSpec(strategy="single", xla="off"), None, on_gpu=False)


def _tensorflow(spec: RuntimeSpec, cluster: Cluster | None, *, on_gpu: bool) -> Strategy:
    import tensorflow as tf

    from transferkit.train.tensorflow_strategy import TensorflowStrategy

    if spec.strategy == "multi_worker" and cluster.num_processes > 1:
        os.environ["TF_CONFIG"] = tf_config_of(cluster)  # where TensorFlow looks for it
        # Before anything else: listing logical devices would start them without their connections to other machines.
        with _keeping_sigterm():
            return TensorflowStrategy("multi_worker", tf.distribute.MultiWorkerMirroredStrategy())
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    asked = spec.strategy in ("mirrored", "multi_worker")
    if len(devices) > 1 and (asked or (spec.strategy == "auto" and on_gpu)):
        if spec.xla == "on":
            raise RuntimeSetupError(
                f"runtime.xla is on, and this machine has {len(devices)} devices: a step compiled with XLA cannot hold "
                "the sums over replicas.\nSet runtime.xla: auto to use all of them, or runtime.strategy: single to use "
                "one."
            )
        return TensorflowStrategy(
            "multi_worker" if spec.strategy == "multi_worker" else "mirrored",
            tf.distribute.MirroredStrategy([one.name for one in devices]),
        )
    xla = spec.xla == "on" or (spec.xla == "auto" and on_gpu)
    # One device needs nothing more, whatever the strategy is called.
    return TensorflowStrategy(spec.strategy if asked else "single", tf.distribute.get_strategy(), xla=xla)


@contextmanager
def _keeping_sigterm() -> Iterator[None]:
    """As processes join, the engines' C++ sides put a handler in the place of ours, and SIGTERM would do nothing."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
