"""What is frozen is computed once: outputs of the stages below a cut, kept on disk by picture."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import keras
import numpy as np

from transferkit.backbones.stages import weight_path
from transferkit.data.decode import DECODE_VERSION
from transferkit.data.listing import Split
from transferkit.data.load import Data
from transferkit.errors import CacheError
from transferkit.model.augment import augment_batch
from transferkit.model.classifier import Classifier
from transferkit.model.draws import Draws
from transferkit.progress import Progress, Task
from transferkit.recipe.recipe import Recipe
from transferkit.store.room import make_room
from transferkit.store.rows import RowStore, Writer, cache_root
from transferkit.train.copies import as_array
from transferkit.train.forward import BATCH_SIZE, compute_outputs, compute_own
from transferkit.train.runtime import engine_identity
from transferkit.train.strategy import Forward, Strategy

# Rows that are computed before they are handed to the store.
_CHUNK_ROWS = 8 * BATCH_SIZE
_WAITING = "another process is computing the same features; waiting for it"


class Rows(Protocol):
    """Something that an array of positions picks rows from: an array, rows on disk, or rows computed when asked for."""

    shape: tuple[int, ...]
    dtype: Any

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


class Features:
    """Features of the run's pictures, by cut and split.

    A picture's features are a function of the picture and of the weights below the cut alone: every stage is a compiled
    function of its own, which always sees batches of one size. So they are the same bits whether this run stored them,
    another run did, or they are computed again when asked for.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Data,
        *,
        recipe: Recipe,
        precision: str,
        strategy: Strategy,
        progress: Progress,
    ) -> None:
        self._classifier, self._data, self._recipe = classifier, data, recipe
        self._precision, self._strategy, self._progress = precision, strategy, progress
        self._root = cache_root(recipe.cache.folder, os.environ)
        self._stages = classifier.stage_networks(len(classifier.stage_ends))
        self._forwards: dict[tuple[int, ...], Forward] = {}
        self._stage_digests: list[str] = []
        self._rows: dict[tuple[object, ...], Rows] = {}

    def forget_above(self, cut: int) -> None:
        """Weights from stage `cut` on change now, and with them all features above it."""
        del self._stage_digests[cut:]
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] <= cut}

    def prepare(self, cuts: Sequence[int], split: Split) -> None:
        """Store a split's features at several cuts, in one pass over the pictures that miss any of them."""
        if self._recipe.cache.features == "none":
            return
        new = sorted(cut for cut in set(cuts) if (cut, split) not in self._rows)
        digests = [self._data.digests[row] for row in self._data.rows[split]]

        def compute(forward: Forward, missing: np.ndarray, task: Task) -> list[np.ndarray]:
            rows = self._data.rows[split][missing]
            return compute_outputs(forward, self._data.images, rows, strategy=self._strategy, task=task)

        self._store({cut: self._rowstore(cut) for cut in new}, digests, compute, what=split, key=(split,))

    def rows(self, cut: int, split: Split) -> Rows:
        """`(num_images in split, …)` float32: what enters stage `cut`, for the split's pictures in order."""
        return self._rows.get((cut, split)) or self.computed(cut, split)

    def computed(self, cut: int, split: Split) -> Rows:
        """The same, not stored."""
        pictures = Picked(self._data.images, self._data.rows[split])
        return Computed(self._forward((cut,)), pictures, self._classifier.input_shape(cut), self._dtype, self._strategy)

    def views(self, cut: int, view: int, augmentations: Sequence[keras.layers.Layer]) -> Rows:
        """The same for the training pictures augmented at random, one of several times."""
        key = (cut, "train", view)
        if key not in self._rows:
            rows = self._data.rows["train"]
            draws = Draws(augmentations, seed=self._recipe.seed, stream="views")
            pictures = [self._data.digests[row] for row in rows]
            digests = [hashlib.sha256(b"%d " % view + digest).digest() for digest in pictures]
            # Draws depend on the place in a batch, so these features belong to this list of pictures only.
            order = hashlib.sha256(b"".join(pictures)).hexdigest()
            augment = [one.model_dump(mode="json") for one in self._recipe.augment]
            store = self._rowstore(cut, {"order": order, "augment": augment, "seed": self._recipe.seed})
            first_step = view * -(-len(rows) // BATCH_SIZE)
            augmented = Augmented(Picked(self._data.for_augmentation, rows), augmentations, draws, first_step)

            def compute(forward: Forward, missing: np.ndarray, task: Task) -> list[np.ndarray]:
                return compute_outputs(forward, augmented, missing, strategy=self._strategy, task=task)

            what = f"train, view {view + 1}"
            self._store({cut: store}, digests, compute, what=what, key=("train", view), whole_batches=True)
            if key not in self._rows:
                raise CacheError(
                    f"the stored views of the pictures have no room in {self._root}.\n"
                    "Raise cache.max_gb, name a larger disk with cache.folder, or leave out views."
                )
        return self._rows[key]

    def _store(
        self,
        stores: Mapping[int, RowStore],
        digests: Sequence[bytes],
        compute: Callable[[Forward, np.ndarray, Task], list[np.ndarray]],
        *,
        what: str,
        key: tuple[object, ...],
        whole_batches: bool = False,
    ) -> None:
        """Compute what any of the stores misses, and open them; without room or a disk for it they stay closed."""
        if not stores:
            return
        with ExitStack() as held:
            trouble, writers = self._open(stores, held)
            if self._strategy.gather(np.array(bool(trouble))).any():
                if trouble and whole_batches:  # views can be nowhere else
                    raise trouble
                why = str(trouble).splitlines()[0].rstrip(".") if trouble else "another process cannot keep them"
                self._progress.say(f"features of the frozen part, {what}: {why}; they are computed in every epoch")
                return
            missing = np.any([store.find(digests) < 0 for store in stores.values()], axis=0)
            # Several processes must do the same; each may have a disk of its own.
            missing = self._strategy.gather(missing).any(axis=0)
            if whole_batches:
                missing = np.repeat(np.logical_or.reduceat(missing, range(0, len(missing), BATCH_SIZE)), BATCH_SIZE)
            missing = np.flatnonzero(missing[: len(digests)])
            if len(missing) and not self._has_room(stores, len(missing), what):
                return
            if not len(missing):
                self._progress.say(
                    f"features of the frozen part, {what}: all {len(digests)} pictures are stored already"
                )
            else:
                self._compute(stores, writers, digests, missing, compute, what)
            for writer in writers.values():
                writer.flush()
            for cut, store in stores.items():
                self._rows[cut, *key] = store.read(digests)

    def _open(self, stores: Mapping[int, RowStore], held: ExitStack) -> tuple[CacheError | None, dict[int, Writer]]:
        """Why nothing can be kept, or the right to write: the next process waits for it, and then finds all there."""
        writers: dict[int, Writer] = {}
        try:
            for cut, store in stores.items():
                writers[cut] = held.enter_context(store.writer(progress=self._progress, waiting=_WAITING))
                if self._strategy.num_processes > 1:  # those that compute together only see that it can be had
                    held.close()
        except CacheError as error:
            return error, {}
        return None, writers if self._strategy.num_processes == 1 else {}

    def _compute(
        self,
        stores: Mapping[int, RowStore],
        writers: Mapping[int, Writer],
        digests: Sequence[bytes],
        missing: np.ndarray,
        compute: Callable[[Forward, np.ndarray, Task], list[np.ndarray]],
        what: str,
    ) -> None:
        forward = self._forward(tuple(stores))
        with self._progress.task(f"features of the frozen part, {what}", len(missing), "pictures") as task:
            for start in range(0, len(missing), _CHUNK_ROWS):
                chunk = missing[start : start + _CHUNK_ROWS]
                names = [digests[row] for row in chunk]
                for (cut, store), rows in zip(stores.items(), compute(forward, chunk, task), strict=True):
                    rows = rows.astype(self._dtype, copy=False)
                    if cut in writers:
                        writers[cut].append(names, rows)
                    else:  # no lock may be held while all processes compute together
                        with store.writer() as writer:
                            writer.append(names, rows)

    def _has_room(self, stores: Mapping[int, RowStore], num_missing: int, what: str) -> bool:
        needed = sum(store.disk_bytes(num_missing) for store in stores.values())
        cache = self._recipe.cache
        fits = make_room(self._root, needed, max_gb=cache.max_gb)
        if bool(self._strategy.gather(np.array(fits)).all()):
            self._progress.say(
                f"features of the frozen part, {what}: {num_missing} pictures to compute, "
                f"{needed / 2**20:,.1f} MB on disk in {self._root}"
            )
            return True
        self._progress.say(
            f"features of the frozen part, {what}: {needed / 2**20:,.1f} MB have no room in {self._root} "
            f"(cache.max_gb: {cache.max_gb:g}); they are computed in every epoch"
        )
        return False

    @property
    def _dtype(self) -> str:
        return self._recipe.cache.precision

    def _forward(self, cuts: tuple[int, ...]) -> Forward:
        if cuts not in self._forwards:
            chain = self._stages[: max(cuts)]
            self._forwards[cuts] = self._strategy.forward(chain, keep=[cut - 1 for cut in cuts])
        return self._forwards[cuts]

    def _rowstore(self, cut: int, also: Mapping[str, object] | None = None) -> RowStore:
        recipe, shape, larger = self._recipe, self._classifier.input_shape(cut), self._data.with_margin
        key = {
            "backbone": recipe.model.backbone,
            "weights": self._weights_digest(cut),
            "cut": cut,
            "pooling": recipe.model.head.pooling if cut == len(self._stages) else None,
            "image_size": recipe.data.image_size,
            "resize": recipe.data.resize,
            "decode": DECODE_VERSION,
            "precision": self._precision,
            "stored as": self._dtype,
            "batch_size": BATCH_SIZE,
            "xla": recipe.runtime.xla,
            **({} if larger is None else {"prepared_size": larger.shape[1]}),
            **engine_identity(),
            **(also or {}),
        }
        return RowStore(self._root, key, shape=shape, dtype=self._dtype)

    def _weights_digest(self, cut: int) -> str:
        for network in self._stages[len(self._stage_digests) : cut]:
            digest = hashlib.sha256()
            for layer in network.layers:
                for variable in layer.weights:
                    digest.update(weight_path(layer, variable).encode())
                    digest.update(np.ascontiguousarray(as_array(variable)).tobytes())
            self._stage_digests.append(digest.hexdigest())
        return hashlib.sha256("".join(self._stage_digests[:cut]).encode()).hexdigest()


class Picked:
    """Some rows of an array, in an order of their own."""

    def __init__(self, inputs: np.ndarray, rows: np.ndarray) -> None:
        self._inputs, self._rows = inputs, rows
        self.shape, self.dtype = (len(rows), *inputs.shape[1:]), inputs.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._inputs[self._rows[rows]]


class Computed:
    """Features that are computed whenever they are asked for."""

    def __init__(self, forward: Forward, pictures: Picked, shape: tuple[int, ...], dtype: str, strategy: Strategy):
        self._forward, self._pictures, self._strategy = forward, pictures, strategy
        self.shape, self.dtype = (pictures.shape[0], *shape), np.dtype(dtype)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        (computed,) = compute_own(self._forward, self._pictures, rows, strategy=self._strategy)
        return computed.astype(self.dtype, copy=False)


class Augmented:
    """Pictures changed at random, read in whole batches; what is drawn depends on the batch."""

    def __init__(
        self,
        pictures: Picked,
        augmentations: Sequence[keras.layers.Layer],
        draws: Draws,
        first_step: int,
    ) -> None:
        self._pictures, self._augmentations, self._draws, self._first_step = pictures, augmentations, draws, first_step

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        batches = np.split(rows, len(rows) // BATCH_SIZE)
        return np.concatenate([self._batch(batch) for batch in batches])

    def _batch(self, rows: np.ndarray) -> np.ndarray:
        images = keras.ops.cast(self._pictures[rows], "float32")
        with self._draws.at(self._first_step + int(rows[0]) // BATCH_SIZE):
            images, _ = augment_batch(self._augmentations, images, keras.ops.zeros((len(rows), 2)))
        return keras.ops.convert_to_numpy(images)
