"""Copies of a network's weights, to go back to."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Copy = Mapping[int, np.ndarray]


class WeightCopies:
    """Takes copies of those variables that training has moved so far; all others are as they were.

    Copying a large backbone takes longer than an epoch of its head on stored features.
    """

    def __init__(self) -> None:
        self._moving: list[Any] = []
        self._start: dict[int, np.ndarray] = {}

    def watch(self, moving: Iterable[Any]) -> None:
        """From here on these variables may change."""
        for variable in moving:
            if id(variable) not in self._start:
                self._moving.append(variable)
                self._start[id(variable)] = variable.numpy()

    def take(self) -> Copy:
        """The watched variables as they are now."""
        return {id(variable): variable.numpy() for variable in self._moving}

    def put_back(self, copy: Copy) -> None:
        """Set all watched variables to a copy; an empty one stands for the start."""
        for variable in self._moving:
            variable.assign(copy.get(id(variable), self._start[id(variable)]))
