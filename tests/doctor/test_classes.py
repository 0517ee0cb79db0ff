"""What numbers of pictures and names of classes tell."""

import numpy as np
import pytest

from transferkit.doctor.classes import find_in_classes
from transferkit.recipe.data import DataSpec
from transferkit.recipe.imbalance import ClassWeight
from transferkit.recipe.source import FolderSource

SPEC = DataSpec(source=FolderSource(path="photos"))
PLENTY = {"train": [400, 400], "validation": [100, 100], "test": [100, 100]}


def kinds(class_names=("a", "b"), spec=SPEC, **counts):
    given = {split: np.array(counts.get(split, PLENTY[split])) for split in PLENTY}
    sizes = {split: int(numbers.sum()) for split, numbers in given.items()}
    return {finding.kind: finding for finding in find_in_classes(class_names, given, sizes, spec)}


def test_plenty_of_pictures_in_equal_classes_are_no_finding():
    assert kinds() == {}


def test_a_class_that_cannot_be_trained_is_blocking_only_if_fewer_than_two_are_left():
    counts = {"train": [400, 400, 0], "validation": [100, 100, 5], "test": [100, 100, 5]}

    three, two = kinds(("a", "b", "c"), **counts)["empty_class"], kinds(train=[400, 0])["empty_class"]

    assert (three.severity, two.severity) == ("warning", "blocking")
    assert three.table[1:] == (("c", "0", "5", "5"),)


def test_names_that_differ_in_case_or_signs_are_one_warning_with_the_way_to_merge_them():
    found = kinds(("Red Fox", "cat", "red_fox"), train=[40, 40, 40], validation=[100] * 3, test=[100] * 3)[
        "names_alike"
    ]

    assert found.num == 1
    assert "data.merge: {red_fox: ['Red Fox', red_fox]}" in found.advice


def test_names_in_other_letters_are_not_alike():
    found = kinds(("猫", "犬"))

    assert "names_alike" not in found


@pytest.mark.parametrize(("smaller", "severity"), [(201, None), (100, "note"), (40, "warning")])
def test_imbalance_is_graver_the_larger_it_is(smaller, severity):
    found = kinds(train=[400, smaller]).get("imbalance")

    assert (found and found.severity) == severity


def test_imbalance_that_the_recipe_treats_is_no_finding():
    assert "imbalance" not in kinds(spec=SPEC.model_copy(update={"imbalance": ClassWeight()}), train=[400, 20])


def test_few_training_pictures_are_listed_fewest_first():
    found = kinds(("a", "b", "c"), train=[9, 400, 3], validation=[100] * 3, test=[100] * 3)["few_pictures"]

    assert [row[0] for row in found.table[1:]] == ["c", "a"]


def test_a_small_test_split_tells_how_uncertain_its_accuracy_is():
    found = kinds(test=[8, 8])["small_test"]

    assert "uncertain by 20 points" in found.meaning  # 1.96 * sqrt(0.8 * 0.2 / 16)


def test_no_test_split_at_all_is_no_finding():
    assert kinds(test=[0, 0]) == {}


def test_classes_that_are_missing_in_a_split_are_named():
    assert ("b", "400", "100", "0") in kinds(test=[200, 0])["missing_in_test"].table
