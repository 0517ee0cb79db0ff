"""Splits depend on the seed and the names, on nothing else."""

import random
from collections import Counter

import pytest

from transferkit.data.listing import Picture
from transferkit.data.splits import assign_splits
from transferkit.recipe.data import SplitSpec


def pictures_of(counts: dict[int, int], split=None) -> list[Picture]:
    return [Picture(f"{label}/{number}.png", label, split) for label, n in counts.items() for number in range(n)]


def by_path(pictures, splits) -> dict[str, str]:
    return {picture.path: split for picture, split in zip(pictures, splits, strict=True)}


def test_splits_do_not_depend_on_listing_order():
    pictures = pictures_of({0: 31, 1: 12, 2: 50})
    shuffled = random.Random(1).sample(pictures, len(pictures))
    spec = SplitSpec(validation=0.2, test=0.1)

    first = by_path(pictures, assign_splits(pictures, spec, seed=3))
    second = by_path(shuffled, assign_splits(shuffled, spec, seed=3))

    assert first == second


def test_another_seed_gives_other_splits():
    pictures = pictures_of({0: 40, 1: 40})

    assert assign_splits(pictures, SplitSpec(), seed=0) != assign_splits(pictures, SplitSpec(), seed=1)


@pytest.mark.parametrize("counts", [{0: 100, 1: 50, 2: 10}, dict.fromkeys(range(300), 3), {0: 7, 1: 9}])
def test_split_sizes_follow_the_shares_over_all_classes(counts):
    pictures = pictures_of(counts)

    sizes = Counter(assign_splits(pictures, SplitSpec(validation=0.2, test=0.1), seed=0))

    assert abs(sizes["validation"] - 0.2 * len(pictures)) <= 1
    assert abs(sizes["test"] - 0.1 * len(pictures)) <= 1


def test_each_class_has_its_share_to_within_one_picture_per_split():
    pictures = pictures_of({0: 100, 1: 55, 2: 23})
    splits = assign_splits(pictures, SplitSpec(validation=0.2, test=0.1), seed=0)

    for label, total in ((0, 100), (1, 55), (2, 23)):
        own = Counter(split for picture, split in zip(pictures, splits, strict=True) if picture.label == label)
        assert abs(own["validation"] - 0.2 * total) <= 1
        assert abs(own["test"] - 0.1 * total) <= 1


def test_a_class_of_one_picture_keeps_it_for_training():
    pictures = pictures_of({0: 1, 1: 40})

    splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.45, test=0.45), seed=0))

    assert splits["0/0.png"] == "train"
    assert Counter(splits.values())["train"] >= 2


def test_own_splits_stay_and_the_missing_one_comes_from_train():
    pictures = [*pictures_of({0: 20, 1: 20}, "train"), Picture("t/0.png", 0, "test"), Picture("t/1.png", 1, "test")]

    splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.2, test=0.5), seed=0))

    assert splits["t/0.png"] == splits["t/1.png"] == "test"
    assert Counter(splits.values()) == {"train": 32, "validation": 8, "test": 2}
