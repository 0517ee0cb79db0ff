"""Keras on the backend, in the precision and on the device that a recipe asks for."""

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version

import psutil

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
    """`auto` as float16 with float32 weights on GPUs that are fast at it, bfloat16 on TPUs, else float32."""
    if precision != "auto":
        return precision
    kind, *_ = {one.kind for one in list_devices()}
    if kind == "TPU":
        return "mixed_bfloat16"
    fast = kind == "GPU" and all(one.float16_is_fast for one in list_devices())
    return "mixed_float16" if fast else "float32"


@dataclass(frozen=True, slots=True)
class Device:
    """One device of this machine. `kind` is CPU, GPU or TPU."""

    name: str
    kind: str
    float16_is_fast: bool = False


def list_devices() -> list[Device]:
    """The accelerators of this machine that the backend sees, or its CPU."""
    import keras

    if keras.config.backend() == "jax":
        import jax

        return [
            Device(one.device_kind, one.platform.upper(), _is_fast(getattr(one, "compute_capability", "0.0")))
            for one in jax.local_devices()
        ]
    import tensorflow as tf

    found = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", (0, 0))))
        found.append(Device(details.get("device_name", gpu.name), "GPU", _is_fast(capability)))
    return found or [Device("CPU", "CPU")]


def _is_fast(capability: str) -> bool:
    return tuple(map(int, capability.split("."))) >= _FLOAT16_CAPABILITY


def describe_hardware() -> dict[str, object]:
    """Device names and core count, for a run's record."""
    return {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "devices": [device.name for device in list_devices()],
    }


def engine_identity() -> dict[str, object]:
    """What the bits of a result depend on besides the recipe: backend, its versions, and the device."""
    import keras

    backend = keras.config.backend()
    return {
        "backend": backend,
        "versions": [version("keras"), version(backend)],
        "machine": platform.machine(),
        "device": list_devices()[0].name,
    }


def memory_mb() -> float:
    """Memory in use: the first device's peak, or this process's share of the machine's where that is the device."""
    import keras

    if list_devices()[0].kind == "CPU":
        return psutil.Process().memory_info().rss / 2**20
    if keras.config.backend() == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
