"""Whether what is frozen stays as it is."""

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from transferkit.model.classifier import Classifier
from transferkit.train.copies import as_array


def frozen_checksums(classifier: Classifier, moving: Mapping[str, Any]) -> dict[str, int]:
    """Checksums, by path, of what must not change while `moving` does.

    Of large variables only one in each stage is looked at: what goes wrong with a stage shows there, and reading all of
    a backbone takes longer than an epoch of its head.
    """
    variables, checksums = classifier.weights(), {}
    for stage in classifier.stages:
        frozen = [weight for weight in stage.weights if weight.path not in moving]
        large = [weight for weight in frozen if weight.rank > 1]
        for weight in [*(weight for weight in frozen if weight.rank <= 1), *large[:1]]:
            checksums[weight.path] = zlib.crc32(np.ascontiguousarray(as_array(variables[weight.path])).tobytes())
    return checksums
