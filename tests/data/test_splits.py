"""Splits depend on the seed and the names, on nothing else."""

import random
from collections import Counter

import pytest

from transferkit.data import splits as splits_module
from transferkit.data.listing import Picture
from transferkit.recipe.data import SplitSpec


def assign_splits(pictures, spec, *, seed=0, **settings):
    return splits_module.assign_splits(pictures, spec, seed=seed, **settings).splits


def pictures_of(counts: dict[int, int], split=None) -> list[Picture]:
    return [Picture(f"{label}/{number}.png", label, split) for label, n in counts.items() for number in range(n)]


def by_path(pictures, splits) -> dict[str, str]:
    return {picture.path: split for picture, split in zip(pictures, splits, strict=True)}


def grouped(counts: dict[int, int], size: int) -> list[Picture]:
    """Each class in groups of about `size` pictures."""
    return [
        Picture(f"{label}/{number}.png", label, group=f"{label}-{number // (size - number % 2)}")
        for label, count in counts.items()
        for number in range(count)
    ]


def straddling(pictures, splits) -> set[str]:
    found = {}
    for picture, split in zip(pictures, splits, strict=True):
        found.setdefault(picture.group, set()).add(split)
    return {group for group, own in found.items() if len(own) > 1}


@pytest.mark.parametrize("spec", [SplitSpec(validation=0.2), SplitSpec(method="hash"), SplitSpec(fold="2/4")], ids=str)
def test_splits_do_not_depend_on_listing_order(spec):
    pictures = pictures_of({0: 31, 1: 12, 2: 50}) + grouped({3: 40}, 4)
    shuffled = random.Random(1).sample(pictures, len(pictures))

    first = by_path(pictures, assign_splits(pictures, spec, seed=3))
    second = by_path(shuffled, assign_splits(shuffled, spec, seed=3))

    assert first == second


@pytest.mark.parametrize("spec", [SplitSpec(), SplitSpec(method="hash"), SplitSpec(fold="2/4")], ids=str)
def test_another_seed_gives_other_splits(spec):
    pictures = pictures_of({0: 40, 1: 40})

    assert assign_splits(pictures, spec, seed=0) != assign_splits(pictures, spec, seed=1)


@pytest.mark.parametrize("counts", [{0: 100, 1: 50, 2: 10}, dict.fromkeys(range(300), 3), {0: 7, 1: 9}])
def test_split_sizes_follow_the_shares_over_all_classes(counts):
    pictures = pictures_of(counts)

    sizes = Counter(assign_splits(pictures, SplitSpec(validation=0.2, test=0.1)))

    assert abs(sizes["validation"] - 0.2 * len(pictures)) <= 1
    assert abs(sizes["test"] - 0.1 * len(pictures)) <= 1


def test_each_class_has_its_share_to_within_one_picture_per_split():
    pictures = pictures_of({0: 100, 1: 55, 2: 23})
    splits = assign_splits(pictures, SplitSpec(validation=0.2, test=0.1))

    for label, total in ((0, 100), (1, 55), (2, 23)):
        own = Counter(split for picture, split in zip(pictures, splits, strict=True) if picture.label == label)
        assert abs(own["validation"] - 0.2 * total) <= 1
        assert abs(own["test"] - 0.1 * total) <= 1


def test_a_class_of_one_picture_keeps_it_for_training():
    pictures = pictures_of({0: 1, 1: 40})

    splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.45, test=0.45)))

    assert splits["0/0.png"] == "train"
    assert Counter(splits.values())["train"] >= 2


def test_own_splits_stay_and_the_missing_one_comes_from_train():
    pictures = [*pictures_of({0: 20, 1: 20}, "train"), Picture("t/0.png", 0, "test"), Picture("t/1.png", 1, "test")]

    splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.2, test=0.5)))

    assert splits["t/0.png"] == splits["t/1.png"] == "test"
    assert Counter(splits.values()) == {"train": 32, "validation": 8, "test": 2}


def test_pictures_of_several_classes_are_shared_out_by_their_rarest():
    # Everything is a landscape; one in ten is also a castle.
    pictures = [Picture(f"{n}.png", (0, 1) if n % 10 == 0 else (0,)) for n in range(200)]
    pictures += [Picture(f"none{n}.png", ()) for n in range(10)]

    splits = assign_splits(pictures, SplitSpec(validation=0.2, test=0.2))

    for name in (0, 1):
        own = Counter(split for picture, split in zip(pictures, splits, strict=True) if name in picture.labels)
        assert abs(own["test"] - 0.2 * own.total()) <= 1
        assert abs(own["validation"] - 0.2 * own.total()) <= 1


@pytest.mark.parametrize("spec", [SplitSpec(validation=0.3, test=0.3), SplitSpec(fold="1/2"), SplitSpec(fold="2/2")])
def test_a_class_that_is_never_the_rarest_of_its_pictures_trains_too(spec):
    # The last class shares both its pictures with others.
    pictures = [Picture("a", (0, 2)), Picture("b", (1, 2)), Picture("c", (0,)), Picture("d", (1,))]
    pictures += [Picture(f"{n}.png", (3,)) for n in range(10)]

    for seed in range(20):
        splits = by_path(pictures, assign_splits(pictures, spec, seed=seed))

        assert "train" in (splits["a"], splits["b"])
        assert "train" in (splits["a"], splits["c"])
        assert "train" in (splits["b"], splits["d"])


def test_what_small_classes_cannot_spare_is_not_taken_from_the_next():
    pictures = pictures_of({**dict.fromkeys(range(100), 1), 100: 40})

    splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.2, test=0.1)))

    assert Counter(splits[f"100/{n}.png"] for n in range(40)) == {"train": 28, "validation": 8, "test": 4}


class TestGroups:
    """Pictures of one group stay together."""

    @pytest.mark.parametrize(
        "spec", [SplitSpec(), SplitSpec(method="hash", validation=0.3), SplitSpec(fold="1/3")], ids=str
    )
    def test_no_group_is_in_two_splits(self, spec):
        pictures = grouped({0: 100, 1: 60, 2: 44}, 6)

        splits = assign_splits(pictures, spec)

        assert not straddling(pictures, splits)
        assert set(splits) == {"train", "validation", "test"}

    def test_groups_across_classes_stay_together(self):
        pictures = [Picture(f"{n % 3}/{n}.png", n % 3, group=f"patient {n // 6}") for n in range(240)]

        splits = assign_splits(pictures, SplitSpec())

        assert not straddling(pictures, splits)
        assert set(splits) == {"train", "validation", "test"}

    def test_a_tie_is_decided_alike_in_whatever_order_the_pictures_of_a_group_are_listed(self):
        # Groups that several splits lack to the same amount, as sums of thirds and quarters.
        pictures = [Picture(f"{g}/{n}", n, group=str(g)) for g in range(8) for n in range(6) if (g + n) % 3]

        for seed in range(10):
            for spec in (SplitSpec(validation=0.3, test=0.3), SplitSpec(fold="1/2")):
                first = by_path(pictures, assign_splits(pictures, spec, seed=seed))
                second = by_path(pictures[::-1], assign_splits(pictures[::-1], spec, seed=seed))

                assert first == second

    def test_shares_of_each_class_are_met_as_near_as_groups_allow(self):
        pictures = grouped({0: 200, 1: 100, 2: 50}, 4)

        splits = assign_splits(pictures, SplitSpec(validation=0.2, test=0.1))

        for label, total in ((0, 200), (1, 100), (2, 50)):
            own = Counter(split for picture, split in zip(pictures, splits, strict=True) if picture.label == label)
            assert abs(own["validation"] - 0.2 * total) <= 4
            assert abs(own["test"] - 0.1 * total) <= 4

    def test_a_class_of_one_group_trains(self):
        pictures = [*grouped({0: 60}, 4), *(Picture(f"1/{n}.png", 1, group="only") for n in range(9))]

        splits = by_path(pictures, assign_splits(pictures, SplitSpec(validation=0.45, test=0.45)))

        assert {splits[f"1/{n}.png"] for n in range(9)} == {"train"}
        assert "train" in {split for path, split in splits.items() if path.startswith("0/")}

    def test_three_groups_are_enough_for_three_splits(self):
        pictures = [Picture(f"{n % 2}/{n}.png", n % 2, group=f"patient {n // 10}") for n in range(30)]

        assert set(assign_splits(pictures, SplitSpec())) == {"train", "validation", "test"}

    def test_a_pattern_of_paths_makes_groups(self):
        pictures = [Picture(f"{n % 2}/patient{n // 5}_{n}.png", n % 2) for n in range(100)]

        splits = assign_splits(pictures, SplitSpec(group=r"patient(\d+)_"))

        assert not straddling([Picture("", 0, group=str(n // 5)) for n in range(100)], splits)

    def test_pictures_that_look_alike_stay_together(self):
        pictures = pictures_of({0: 100})
        pairs = [(n, n + 1) for n in range(0, 100, 2)]

        splits = assign_splits(pictures, SplitSpec(), alike=pairs)

        assert all(splits[first] == splits[second] for first, second in pairs)
        assert set(splits) == {"train", "validation", "test"}

    def test_of_a_group_that_the_source_splits_the_test_part_stays_and_the_rest_is_left_out_with_a_reason(self):
        own = ["train", "test", "validation", "test"]
        pictures = [Picture(f"0/{n}.png", 0, split, group="burst") for n, split in enumerate(own)]
        pictures += pictures_of({1: 20}, "train")

        assigned = splits_module.assign_splits(pictures, SplitSpec(), seed=0)

        assert assigned.splits[:4] == (None, "test", None, "test")
        assert {one.path: one.reason for one in assigned.skipped} == {
            "0/0.png": "of one group with 0/1.png, which is in test",
            "0/2.png": "of one group with 0/1.png, which is in test",
        }

    def test_a_picture_without_a_split_follows_its_group(self):
        pictures = [Picture("a", 0, "test", group="g"), Picture("b", 0, None, group="g"), *pictures_of({1: 20})]

        assigned = splits_module.assign_splits(pictures, SplitSpec(), seed=0)

        assert assigned.splits[:2] == ("test", "test")
        assert not assigned.skipped


class TestHash:
    """By name alone."""

    SPEC = SplitSpec(method="hash", validation=0.2, test=0.1)

    def test_pictures_that_come_later_move_none(self):
        before = pictures_of({0: 300, 1: 50})
        after = [*pictures_of({2: 200}), *before, *(Picture(f"0/new{n}.png", 0) for n in range(100))]

        old, new = by_path(before, assign_splits(before, self.SPEC)), by_path(after, assign_splits(after, self.SPEC))

        assert {path: new[path] for path in old} == old

    def test_pictures_that_come_to_a_group_go_where_it_is(self):
        before = grouped({0: 300}, 3)
        after = [*before, *(Picture(f"later/{n}.png", 0, group=one.group) for n, one in enumerate(before))]

        old, new = by_path(before, assign_splits(before, self.SPEC)), by_path(after, assign_splits(after, self.SPEC))

        assert {path: new[path] for path in old} == old

    def test_shares_are_met_on_average(self):
        sizes = Counter(assign_splits(pictures_of({0: 5000}), self.SPEC))

        # Five standard deviations of a binomial distribution.
        assert abs(sizes["validation"] - 1000) < 5 * (5000 * 0.2 * 0.8) ** 0.5
        assert abs(sizes["test"] - 500) < 5 * (5000 * 0.1 * 0.9) ** 0.5


class TestFolds:
    """Parts that each test once."""

    @staticmethod
    def parts_of(pictures, count, **settings):
        for number in range(1, count + 1):
            splits = assign_splits(pictures, SplitSpec(fold=f"{number}/{count}", **settings))
            yield {picture.path for picture, split in zip(pictures, splits, strict=True) if split == "test"}

    @pytest.mark.parametrize("count", [2, 5, 7])
    @pytest.mark.parametrize("make", [pictures_of, lambda counts: grouped(counts, 3)], ids=["alone", "in groups"])
    def test_parts_are_disjoint_and_cover_everything(self, count, make):
        pictures = make({0: 61, 1: 30, 2: 44})

        parts = list(self.parts_of(pictures, count))

        assert sum(map(len, parts)) == len(set.union(*parts)) == len(pictures)

    def test_each_part_has_its_share_of_each_class_and_of_all(self):
        pictures = pictures_of({0: 61, 1: 30, 2: 44, 3: 5})

        parts = list(self.parts_of(pictures, 5))

        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for label, total in ((0, 61), (1, 30), (2, 44), (3, 5)):
            counts = [sum(path.startswith(f"{label}/") for path in part) for part in parts]
            assert {total // 5, -(-total // 5)} >= set(counts)

    def test_validation_has_its_share_of_all_pictures_and_is_not_in_the_part_that_tests(self):
        splits = Counter(assign_splits(pictures_of({0: 100, 1: 100}), SplitSpec(fold="3/5", validation=0.2)))

        assert splits == {"test": 40, "validation": 40, "train": 120}

    def test_a_class_of_one_picture_always_trains(self):
        pictures = pictures_of({0: 40, 1: 1})

        assert not any("1/0.png" in part for part in self.parts_of(pictures, 5))

    def test_a_class_of_two_groups_is_tested_in_two_parts(self):
        labels = {"a": [0, 0, 2, 2], "b": [0] * 6, "c": [0, 0, 2], "d": [0, 0, 1, 1], "e": [0, 1, 1, 1, 1, 1], "f": [1]}
        pictures = [Picture(f"{name}{n}", one, group=name) for name, own in labels.items() for n, one in enumerate(own)]

        parts = list(self.parts_of(pictures, 2))

        assert ("a0" in parts[0]) != ("c0" in parts[0])
        assert sorted(set.union(*parts)) == sorted(picture.path for picture in pictures)

    def test_groups_of_equal_size_are_dealt_evenly(self):
        pictures = [Picture(f"{n % 2}/{n}.png", n % 2, group=f"patient {n // 10}") for n in range(100)]

        assert [len(part) for part in self.parts_of(pictures, 5)] == [20] * 5

    def test_the_sources_own_test_pictures_are_left_out_and_its_validation_stays(self):
        own = [Picture("t/0.png", 0, "test"), Picture("v/0.png", 0, "validation")]
        pictures = [*own, *pictures_of({0: 50}, "train")]

        assigned = splits_module.assign_splits(pictures, SplitSpec(fold="1/5"), seed=0)

        assert assigned.splits[:2] == (None, "validation")
        assert Counter(assigned.splits) == {None: 1, "validation": 1, "test": 10, "train": 40}
        assert [one.path for one in assigned.skipped] == ["t/0.png"]
