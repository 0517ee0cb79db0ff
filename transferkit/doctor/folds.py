"""Parts of a set of pictures that are judged in turn by what was learned from the others."""

import numpy as np


def stratified_folds(labels: np.ndarray, *, num_folds: int, seed: int) -> np.ndarray:
    """`(num_pictures,)` int, the part that each picture is in; a class's pictures lie in as many parts as they can.

    Unlike scikit-learn's, a class may have fewer pictures than there are parts.
    """
    folds, start = np.empty(len(labels), np.int64), 0
    draw = np.random.default_rng(seed)
    for label in np.unique(labels):
        rows = draw.permutation(np.flatnonzero(labels == label))
        folds[rows] = (start + np.arange(len(rows))) % num_folds
        start += len(rows)  # so that small classes do not all lie in the first part
    return folds


def in_classes_of_two(labels: np.ndarray) -> np.ndarray:
    """`(num_pictures,)` bool: whether a picture has another one of its class to be judged by."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return counts[inverse] >= 2
