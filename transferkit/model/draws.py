"""Random numbers as a function of where training stands: seed, stream, step and replica."""

import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
from keras import layers, ops

# More draws than any layer makes in one step, so that no two steps share any.
_DRAWS_PER_STEP = 256
# Spreads replicas and parts of a batch over the range of seeds: 2**32 divided by the golden ratio, and a prime.
_PER_REPLICA, _PER_PART = 0x9E3779B9, 0x85EBCA6B


class Draws:
    """The random generators of some layers, without state while `at` is on.

    Keras' generators count up a variable, which is the same on every replica and would have to be saved to resume.

    Args:
        seed, stream: what the draws are for, such as a phase's name and number.
    """

    def __init__(self, owners: Iterable[layers.Layer], *, seed: int, stream: str) -> None:
        self.generators = _generators_of(owners)
        self._own = [zlib.crc32(f"{seed}/{stream}/{index}".encode()) for index in range(len(self.generators))]
        # TensorFlow traces each replica in a thread of its own, and changes threads in the middle of a step.
        self._here, self._lock, self._inside = threading.local(), threading.Lock(), 0

    @contextmanager
    def at(self, step: Any, *, replica: Any = 0, part: Any = 0) -> Iterator[None]:
        """All draws made inside are those of one step.

        Args:
            step: integer, Python's or a tensor.
            replica, part: of the batch, where each draws its own.
        """
        self._here.counter = ops.cast(step, "uint32") * _DRAWS_PER_STEP
        per_replica, per_part = ops.cast(_PER_REPLICA, "uint32"), ops.cast(_PER_PART, "uint32")
        self._here.shift = ops.cast(replica, "uint32") * per_replica + ops.cast(part, "uint32") * per_part
        self._here.counts = [0] * len(self.generators)
        with self._lock:
            self._inside += 1
            for index, generator in enumerate(self.generators):
                generator.next = partial(self._next, index)
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    for generator in self.generators:
                        del generator.next

    def _next(self, index: int, ordered: bool = True) -> Any:
        """Seeds of one generator, in the order in which it is asked within the step."""
        count = self._here.counts[index]
        self._here.counts[index] += 1
        own = ops.cast(self._own[index], "uint32") + self._here.shift
        return ops.stack([own, self._here.counter + ops.cast(count, "uint32")])


def _generators_of(owners: Iterable[layers.Layer]) -> tuple[keras.random.SeedGenerator, ...]:
    """Every random generator in `owners` and in layers inside them, in a fixed order."""
    found: dict[int, keras.random.SeedGenerator] = {}
    for owner in owners:
        for layer in owner._flatten_layers(include_self=True, recursive=True):
            # Keras collects these itself, as it does a layer's weights, but shows them nowhere.
            found |= {id(generator): generator for generator in layer._seed_generators}
    return tuple(found.values())
