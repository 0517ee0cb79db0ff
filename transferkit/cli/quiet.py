"""Start TensorFlow or JAX without the lines that their C++ sides print to people they do not concern."""

import os
import sys
import tempfile

from transferkit.recipe.runtime import RuntimeSpec


def start_engine(runtime: RuntimeSpec) -> None:
    """Import what computes and find its devices; what it prints meanwhile is shown only if that fails.

    TensorFlow's lines about CPU features and missing GPUs are written before it reads its own log level, straight to
    file descriptor 2. Later errors are shown: level 2 hides only information and warnings.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            if runtime.backend == "jax":
                import keras  # noqa: F401

                # Keras imports it to write a model file, and its lines would stand in the middle of the run.
                import tensorflow  # noqa: F401
            else:
                _start_tensorflow(runtime)
        except Exception:
            os.dup2(before, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)


def _start_tensorflow(runtime: RuntimeSpec) -> None:
    import tensorflow as tf

    tf.config.list_physical_devices()
    if runtime.strategy != "multi_worker":  # which must be there before the devices start
        tf.constant(0)
    tf.get_logger().setLevel("ERROR")
