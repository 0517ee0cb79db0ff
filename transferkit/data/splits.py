"""Three-way splits that depend on nothing but the seed and the pictures' names."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from transferkit.data.listing import Picture, Split
from transferkit.recipe.data import SplitSpec


def assign_splits(pictures: Sequence[Picture], spec: SplitSpec, *, seed: int) -> tuple[Split, ...]:
    """The split of each picture.

    The source's own splits stay. A missing test or validation split is carved from the pictures that have no split
    of their own, or else from the source's training pictures, with the same share of every class. Each class keeps
    at least one picture to train on.
    """
    own = {picture.split for picture in pictures}
    shares: list[tuple[Split, float]] = []
    if "test" not in own and spec.test:
        shares.append(("test", spec.test))
    if "validation" not in own:
        shares.append(("validation", spec.validation))
    by_class: dict[int, list[int]] = defaultdict(list)
    for index, picture in enumerate(pictures):
        if picture.split in (None, "train"):
            by_class[picture.label].append(index)
    splits: list[Split] = [picture.split or "train" for picture in pictures]
    # Rounding class by class would leave small classes without a share; what one lacks is carried to the next.
    carried = dict.fromkeys(("test", "validation"), 0.0)
    for label in sorted(by_class):
        ranked = sorted(by_class[label], key=lambda index: _rank(seed, pictures[index].path))
        left = len(ranked)
        for split, share in shares:
            carried[split] += share * len(ranked)
            count = max(0, min(round(carried[split]), left - 1))
            carried[split] -= count
            for index in ranked[left - count : left]:
                splits[index] = split
            left -= count
    return tuple(splits)


def _rank(seed: int, path: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{path}".encode("utf-8", "surrogateescape")).digest()
