"""Keras on the backend, in the precision and on the device that a recipe asks for."""

import os
import platform
import sys

from transferkit.errors import RuntimeSetupError

# NVIDIA GPUs have had fast float16 units since this compute capability (Volta).
_FLOAT16_CAPABILITY = (7, 0)


def choose_backend(backend: str) -> None:
    """Make Keras use `backend`. Keras reads the choice once, when it is imported.

    Raises:
        RuntimeSetupError: another backend was asked for, or Keras is already running on one.
    """
    if "keras" in sys.modules:
        current, origin = sys.modules["keras"].config.backend(), "Keras is already imported"
    elif "KERAS_BACKEND" in os.environ:
        current, origin = os.environ["KERAS_BACKEND"], "the environment sets KERAS_BACKEND"
    else:
        os.environ["KERAS_BACKEND"] = backend
        return
    if current != backend:
        raise RuntimeSetupError(
            f"The recipe's backend is {backend}, but {origin} with {current!r}.\n"
            f"Set KERAS_BACKEND={backend} (or unset it) before Keras is imported; in a notebook, restart the runtime."
        )


def resolve_precision(precision: str) -> str:
    """`auto` as float16 with float32 weights on GPUs that are fast at it, else float32."""
    if precision != "auto":
        return precision
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    capabilities = [tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus]
    return "mixed_float16" if capabilities and min(capabilities) >= _FLOAT16_CAPABILITY else "float32"


def describe_hardware() -> dict[str, object]:
    """Device names and core count, for a run's record."""
    import tensorflow as tf

    devices = [
        tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {"machine": platform.platform(), "cores": os.cpu_count(), "devices": devices or ["CPU"]}
