"""Where a run computes: one small interface with one device, several, several machines, TensorFlow or JAX behind it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from transferkit.train.trainer import PhaseTrainer

Forward = Callable[[np.ndarray], Sequence[np.ndarray]]


class Steps(Protocol):
    """The compiled training steps of one phase. A step may return before the device is done with it."""

    def start_epoch(self) -> None:
        """Set the running sums to 0."""

    def run(self, inputs: np.ndarray, labels: np.ndarray, *, num_rows: int, step: int, rate: float) -> None:
        """One optimizer step.

        Args:
            inputs, labels: this process's rows of the batch, see `Strategy.own_rows`.
            num_rows: of the whole batch, over all processes.
            step: of the phase, from 0.
        """

    def read_sums(self) -> np.ndarray:
        """The running sums of `PhaseTrainer`; waits for the device."""

    def sync(self) -> None:
        """Make the Keras variables hold the state."""

    def load(self) -> None:
        """Take the state from the Keras variables."""


class Strategy(Protocol):
    """How replicas are placed.

    Args:
        num_replicas: over all processes; `num_local` of them in this one.
        process: index of this one, of `num_processes`; 0 is the chief, which alone writes the run folder.
    """

    name: str
    num_replicas: int
    num_local: int
    num_processes: int
    process: int

    def scope(self) -> AbstractContextManager[Any]:
        """Networks, optimizers and their variables are made inside."""

    def own_rows(self, num_rows: int) -> slice:
        """Which rows of a batch this process reads. All processes' rows are disjoint and cover the batch, unless it
        is too small to be divided; then each reads all of it."""

    def steps(self, trainer: PhaseTrainer) -> Steps: ...

    def forward(self, chain: Sequence[Any], *, keep: Sequence[int] = (-1,)) -> Forward:
        """Networks in inference, each a compiled function on the one before's output.

        They take `(num_local x any, …)` rows, of which each of this process's replicas computes its share by itself,
        and give the rows' outputs of those networks whose positions are in `keep`.
        """

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Every process's array, one after the other, on each of them; `(num_processes, …)`."""

    def is_out_of_memory(self, error: Exception) -> bool: ...
