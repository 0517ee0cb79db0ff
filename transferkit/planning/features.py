"""Which features each phase computes once and keeps, and which in every epoch, as `train.features` will."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.data.listing import Split
from transferkit.recipe.runtime import CacheSpec
from transferkit.schedule.schedule import Phase
from transferkit.store.rows import RowStore
from transferkit.train.phase_run import cuts_in_reach

_GB, _MB = 1e9, 2**20
# A cut, and a split or the number of a view of the training pictures.
_Key = tuple[int, Split | int]


@dataclass(frozen=True, slots=True)
class PlannedFeatures:
    """What becomes of the outputs of a phase's frozen stages.

    Args:
        num_once: pictures that go through these stages once, as the phase begins (with `views`, in its first epochs).
        num_again: pictures that go through them in every epoch although nothing changes there.
        disk_mb: what is written of them, of all cuts.
        also_for: names of the later phases whose features, of lower cuts, come out of the same pass.
        refused_mb: what does not fit into `cache.max_gb`.
    """

    num_once: int = 0
    num_again: int = 0
    disk_mb: float = 0.0
    also_for: tuple[str, ...] = ()
    refused_mb: float = 0.0


def plan_features(
    schedule: Sequence[Phase],
    *,
    shape_at: Callable[[int], tuple[int, ...]],
    counts: Mapping[Split, int],
    cache: CacheSpec,
) -> list[PlannedFeatures]:
    """For each phase. What earlier runs have stored, or take of the disk, is not looked at.

    Args:
        shape_at: of what enters a stage, for one picture.
        counts: pictures by split; 1 in each where they are not known.
    """
    found = []
    store = _Store(shape_at, cache)
    for phase in schedule:
        store.forget_above(phase.cut)
        wanted = cuts_in_reach(phase, schedule[phase.index + 1 :])
        views = min(phase.spec.views or 0, phase.epochs) if phase.cut and phase.augment else 0
        work = [
            (counts["validation"], [(one.cut, "validation") for one in wanted]),
            (counts["train"], [(one.cut, "train") for one in wanted if not one.augment]),
            *((counts["train"], [(phase.cut, view)]) for view in range(views)),
        ]
        written = [store.add(keys, num_images=num_images) for num_images, keys in work]
        own: list[_Key] = [(phase.cut, "validation")] if phase.cut else []
        if phase.cut and not phase.augment:
            own.append((phase.cut, "train"))
        again = sum(counts[split] for cut, split in own if (cut, split) not in store.kept)
        if views and (phase.cut, 0) not in store.kept:
            again += counts["train"]
        found.append(
            PlannedFeatures(
                num_once=sum(num_images for (num_images, _), size in zip(work, written, strict=True) if size > 0),
                num_again=again,
                disk_mb=sum(size for size in written if size > 0) / _MB,
                also_for=tuple(dict.fromkeys(one.name for one in wanted if one.cut != phase.cut)),
                refused_mb=-sum(size for size in written if size < 0) / _MB,
            )
        )
    return found


class _Store:
    """What is kept, in bytes by cut and split or view."""

    def __init__(self, shape_at: Callable[[int], tuple[int, ...]], cache: CacheSpec) -> None:
        self._shape_at, self._cache = shape_at, cache
        self.kept: dict[_Key, int] = {}

    def forget_above(self, cut: int) -> None:
        self.kept = {key: size for key, size in self.kept.items() if key[0] <= cut}

    def add(self, keys: Sequence[_Key], *, num_images: int) -> int:
        """Keep what is new: how much that is, or would be, then with a minus; 0 if nothing is new."""
        if self._cache.features == "none":
            return 0
        new = {key: self._bytes(key[0], num_images) for key in keys if key not in self.kept}
        # All else makes room, but not what is in the stores that are written to.
        stores = {_store_of(key) for key in new}
        beside = sum(size for key, size in self.kept.items() if _store_of(key) in stores)
        needed = sum(new.values())
        if beside + needed > self._cache.max_gb * _GB:
            return -needed
        self.kept |= new
        return needed

    def _bytes(self, cut: int, num_images: int) -> int:
        store = RowStore(Path(), {}, shape=self._shape_at(cut), dtype=self._cache.precision)
        return store.disk_bytes(num_images)


def _store_of(key: _Key) -> tuple[int, bool]:
    """Views have a store of their own."""
    cut, what = key
    return cut, isinstance(what, int)
