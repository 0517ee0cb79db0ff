"""From what a recipe says of the runtime to a strategy."""

import os

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
    devices = list_devices()
    if spec.strategy == "tpu" and devices[0].kind != "TPU":
        raise RuntimeSetupError(
            f"runtime.strategy is tpu, but JAX finds {len(devices)} x {devices[0].kind} on this machine.\n"
            'Install JAX for TPUs (pip install "jax[tpu]"), or set runtime.strategy: auto.'
        )
    if spec.backend == "jax":
        from transferkit.train.jax_strategy import JaxStrategy

        return JaxStrategy(spec.strategy, cluster)
    return _tensorflow(spec, cluster, on_gpu=devices[0].kind == "GPU")


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

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if spec.strategy == "multi_worker":
        os.environ["TF_CONFIG"] = tf_config_of(cluster)  # where TensorFlow looks for it
        return TensorflowStrategy("multi_worker", tf.distribute.MultiWorkerMirroredStrategy())
    if spec.strategy == "mirrored" or (spec.strategy == "auto" and on_gpu and len(devices) > 1):
        return TensorflowStrategy("mirrored", tf.distribute.MirroredStrategy([one.name for one in devices]))
    xla = spec.xla == "on" or (spec.xla == "auto" and on_gpu)
    return TensorflowStrategy("single", tf.distribute.get_strategy(), xla=xla)
