"""Copies of a network's weights, to go back to."""

from collections.abc import Mapping
from typing import Any

import numpy as np

Copy = Mapping[str, np.ndarray]


class WeightCopies:
    """Takes copies of those variables that training has moved so far; all others are as they were.

    Copying a large backbone takes longer than an epoch of its head on stored features.
    """

    def __init__(self) -> None:
        self.moving: dict[str, Any] = {}
        self._start: dict[str, np.ndarray] = {}

    def watch(self, moving: Mapping[str, Any]) -> None:
        """From here on these variables, by path, may change."""
        for path, variable in moving.items():
            if path not in self.moving:
                self.moving[path] = variable
                self._start[path] = as_array(variable)

    @property
    def start(self) -> Copy:
        """The watched variables as they were before the first phase that moves them."""
        return self._start

    def take(self) -> Copy:
        """The watched variables as they are now."""
        return {path: as_array(variable) for path, variable in self.moving.items()}

    def put_back(self, copy: Copy) -> None:
        """Set all watched variables to a copy; what it does not have, to the start."""
        for path, variable in self.moving.items():
            variable.assign(copy.get(path, self._start[path]))


def bits_equal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two arrays of one shape and type are the same to the bit: zeros by their sign, no numbers by kind."""
    return first is second or np.array_equal(*(np.ascontiguousarray(one).view(np.uint8) for one in (first, second)))


def as_array(variable: Any) -> np.ndarray:
    """A copy of a variable's value. On some devices `numpy()` shows the variable's own memory."""
    return np.array(variable.numpy())
