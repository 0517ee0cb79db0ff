"""Groups that the source's own splits tear apart."""

from transferkit.data.listing import Picture
from transferkit.data.splits import assign_splits
from transferkit.doctor.torn import find_torn_groups
from transferkit.recipe.data import SplitSpec


def pictures_of(group_of, splits):
    return [Picture(f"{row}.png", row % 2, split=splits[row % len(splits)], group=group_of(row)) for row in range(60)]


def torn(pictures, **split):
    return list(find_torn_groups(pictures, assign_splits(pictures, SplitSpec(**split), seed=0)))


def test_what_torn_groups_cost_is_a_finding():
    pictures = pictures_of(lambda row: f"g{row // 3}", ("train", "train", "test"))

    (finding,) = torn(pictures)

    assert (finding.severity, finding.num) == ("warning", 40)
    assert finding.pictures[0].path == "0.png"
    assert finding.pictures[0].note == "of one group with 2.png, which is in test"


def test_a_few_are_a_note():
    pictures = pictures_of(lambda row: "same" if row in (1, 2) else f"alone {row}", ("train", "train", "test"))

    (finding,) = torn(pictures)

    assert (finding.severity, finding.num) == ("note", 1)


def test_groups_in_one_split_and_pictures_that_folds_set_aside_are_none():
    assert torn(pictures_of(lambda row: f"g{row % 3}", ("train", "validation", "test"))) == []
    assert torn(pictures_of(lambda row: f"g{row}", ("train", "train", "test")), fold="1/3") == []
