"""What splits promise, on many random sources: sizes, groups, classes, own splits, shares and folds."""

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import pytest

from transferkit.data.groups import find_groups
from transferkit.data.listing import Picture
from transferkit.data.splits import assign_splits
from transferkit.recipe.data import SplitSpec

SEEDS = range(60)
HELD = ("validation", "test")


@dataclass
class Source:
    """Random pictures, pairs that look alike, and the names of the groups that follow."""

    pictures: list[Picture]
    alike: list[tuple[int, int]]

    def __post_init__(self):
        self.groups = find_groups(self.pictures, None, self.alike)

    def assign(self, seed=0, **settings):
        return assign_splits(self.pictures, SplitSpec(**settings), seed=seed, alike=self.alike).splits

    def in_another_order(self, draw):
        order = draw.sample(range(len(self.pictures)), len(self.pictures))
        place = {position: index for index, position in enumerate(order)}
        pairs = [(place[second], place[first]) for first, second in self.alike]
        return Source([self.pictures[position] for position in order], draw.sample(pairs, len(pairs))), order

    def free_groups(self):
        """Those that the source itself puts neither into validation nor into test."""
        own = {group for group, picture in zip(self.groups, self.pictures, strict=True) if picture.split in HELD}
        return set(self.groups) - own


def make(draw: random.Random, *, several: bool) -> Source:
    num_classes, most = draw.randint(2, draw.choice([3, 12, 40])), draw.choice([2, 6, 40])
    grouped, own = draw.choice([0, 0, 0.3, 1]), draw.choice([0, 0, 0.1])
    pictures = []
    for label in range(num_classes):
        for number in range(draw.randint(1, most) * draw.choice([1, 1, 3])):
            more = draw.sample(range(num_classes), draw.randint(0, 2))
            labels = tuple(sorted({label, *more})) if draw.random() < 0.95 else ()
            group = f"{draw.choice([label, ''])}-{draw.randint(0, 20)}" if draw.random() < grouped else None
            split = draw.choice(["train", "validation", "test"]) if draw.random() < own else None
            pictures.append(Picture(f"{label}/{number}.png", labels if several else label, split, group=group))
    count = draw.choice([0, 0, len(pictures) // 4])
    return Source(pictures, [tuple(draw.sample(range(len(pictures)), 2)) for _ in range(count)])


@pytest.fixture(params=["one class each", "several classes each"])
def sources(request):
    """(Random numbers, source) for each seed."""
    several = request.param == "several classes each"
    draws = map(random.Random, SEEDS)
    return [(draw, make(draw, several=several)) for draw in draws]


def any_settings(draw):
    shares = {"validation": draw.choice([0.05, 0.1, 0.3, 0.45]), "test": draw.choice([0, 0.1, 0.2, 0.45])}
    count = draw.randint(2, 10)
    kind = draw.choice([{}, {"method": "hash"}, {"fold": f"{draw.randint(1, count)}/{count}"}])
    return shares | kind


def test_no_group_is_in_two_splits(sources):
    for draw, source in sources:
        found = defaultdict(set)
        for group, split in zip(source.groups, source.assign(**any_settings(draw)), strict=True):
            found[group].add(split)

        assert all(len(splits - {None}) <= 1 for splits in found.values())


def test_splits_do_not_depend_on_the_order_of_the_listing(sources):
    for draw, source in sources:
        settings, (shuffled, order) = any_settings(draw), source.in_another_order(draw)

        splits, others = source.assign(**settings), shuffled.assign(**settings)

        assert [splits[position] for position in order] == list(others)


@pytest.mark.parametrize("count", [None, 2, 10])
def test_every_class_keeps_a_picture_to_train_on(sources, count):
    for draw, source in sources:
        fold = f"{draw.randint(1, count)}/{count}" if count else None
        share = draw.choice([0.1, 0.4])
        splits = source.assign(validation=share, test=draw.choice([0, 0.1, 0.45]), fold=fold)

        free = source.free_groups()
        pictures = list(zip(source.pictures, source.groups, splits, strict=True))
        wanted = {label for picture, group, _ in pictures if group in free for label in picture.labels}
        assert wanted <= {label for picture, _, split in pictures if split == "train" for label in picture.labels}


@pytest.mark.parametrize("count", [2, 7])
def test_folds_test_each_picture_once_if_its_classes_can_do_without(sources, count):
    for _, source in sources[: 120 // count]:
        parts = [source.assign(fold=f"{number}/{count}", validation=0.2) for number in range(1, count + 1)]
        times = [sum(split == "test" for split in own) for own in zip(*parts, strict=True)]

        free, places = source.free_groups(), defaultdict(set)
        for picture, group in zip(source.pictures, source.groups, strict=True):
            for label in picture.labels:
                places[label] |= {group} & free
        labels_of = defaultdict(set)
        for picture, group in zip(source.pictures, source.groups, strict=True):
            labels_of[group] |= set(picture.labels)
        assert max(times) <= 1
        for group, number in zip(source.groups, times, strict=True):
            if group not in free or any(len(places[label]) == 1 for label in labels_of[group]):
                assert number == 0
            elif len(labels_of[group]) < count:  # others may find no part that leaves each of their classes something
                assert number == 1


def test_shares_are_those_of_each_class_to_within_one_picture():
    for seed in SEEDS:
        draw = random.Random(seed)
        counts = [draw.choice([1, 2, draw.randint(3, 200)]) for _ in range(draw.randint(2, 60))]
        pictures = [Picture(f"{label}/{n}.png", label) for label, count in enumerate(counts) for n in range(count)]

        splits = Source(pictures, []).assign(validation=0.2, test=0.1, seed=seed)

        own = Counter(zip((picture.label for picture in pictures), splits, strict=True))
        for label, count in enumerate(counts):
            assert abs(own[label, "validation"] - 0.2 * count) <= 1
            assert abs(own[label, "test"] - 0.1 * count) <= 1


def test_by_hash_no_picture_moves_when_others_come_or_go(sources):
    for draw, source in sources:
        pictures = [replace(picture, split=None) for picture in source.pictures]
        kept = draw.sample(pictures, len(pictures) // 2)

        few, all_of_them = (Source(own, []).assign(method="hash", validation=0.3) for own in (kept, pictures))

        split_of = dict(zip((picture.path for picture in pictures), all_of_them, strict=True))
        assert [split_of[picture.path] for picture in kept] == list(few)


@pytest.mark.parametrize("comes", HELD)
def test_by_hash_a_split_stays_when_the_source_comes_to_have_the_other(comes):
    pictures = [Picture(f"0/{number}.png", 0) for number in range(300)]
    (other,) = {*HELD} - {comes}

    before = Source(pictures, []).assign(method="hash", validation=0.2, test=0.2)
    after = Source([*pictures, Picture("new.png", 0, comes)], []).assign(method="hash", validation=0.2, test=0.2)

    assert list(after) == [split if split == other else "train" for split in before] + [comes]
