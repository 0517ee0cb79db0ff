"""Start TensorFlow without the lines that its C++ side prints to people it does not concern."""

import os
import sys
import tempfile


def start_tensorflow() -> None:
    """Import TensorFlow and find its devices; what it prints meanwhile is shown only if that fails.

    The lines about CPU features and missing GPUs are written before TensorFlow reads its own log level, straight to
    file descriptor 2. Later errors are shown: level 2 hides only information and warnings.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
            tf.constant(0)  # starts the devices
        except Exception:
            os.dup2(before, 2)
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            os.dup2(before, 2)
            os.close(before)
    tf.get_logger().setLevel("ERROR")
