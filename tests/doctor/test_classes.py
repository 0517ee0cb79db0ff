"""What numbers of pictures and names of classes tell."""

import numpy as np
import pytest

from transferkit.doctor.classes import find_in_classes
from transferkit.recipe.data import DataSpec
from transferkit.recipe.imbalance import ClassWeight
from transferkit.recipe.source import CsvSource, FolderSource

SPEC = DataSpec(source=FolderSource(path="photos"))
PLENTY = {"train": [400, 400], "validation": [100, 100], "test": [100, 100]}


def kinds(class_names=("a", "b"), spec=SPEC, *, multi_label=False, need_test=False, **counts):
    given = {split: np.array(counts.get(split, PLENTY[split])) for split in PLENTY}
    sizes = {split: int(numbers.sum()) for split, numbers in given.items()}
    found = find_in_classes(class_names, given, sizes, spec, multi_label=multi_label, need_test=need_test)
    return {finding.kind: finding for finding in found}


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
    assert "data.merge: {'Red Fox': ['Red Fox', red_fox]}" in found.advice


def test_names_that_differ_in_case_get_the_advice_that_the_listing_gives():
    found = kinds(("Bird", "bird"))["names_alike"]

    assert "data.merge: {Bird: [Bird, bird]}" in found.advice


def test_names_in_other_letters_are_not_alike():
    found = kinds(("猫", "犬"))

    assert "names_alike" not in found


@pytest.mark.parametrize(("smaller", "severity"), [(201, None), (100, "note"), (40, "warning")])
def test_imbalance_is_graver_the_larger_it_is(smaller, severity):
    found = kinds(train=[400, smaller]).get("imbalance")

    assert (found and found.severity) == severity


def test_a_class_that_cannot_be_trained_is_no_imbalance():
    assert "imbalance" not in kinds(train=[0, 400])


def test_imbalance_that_the_recipe_treats_is_no_finding():
    assert "imbalance" not in kinds(spec=SPEC.model_copy(update={"imbalance": ClassWeight()}), train=[400, 20])


def test_imbalance_of_pictures_with_several_classes_is_answered_by_the_table_s_weights():
    tables = [SPEC.model_copy(update={"source": CsvSource(path="a.csv", weight_column=name)}) for name in (None, "w")]

    default, own = (kinds(spec=spec, multi_label=True, train=[400, 20])["imbalance"].advice for spec in tables)
    without_table = kinds(multi_label=True, train=[400, 20])["imbalance"].advice

    assert "column weight (data.source.csv.weight_column)" in default
    assert "column w (data.source.csv.weight_column)" in own
    assert not any("data.imbalance" in advice for advice in (default, own, without_table))


def test_a_validation_split_without_pictures_is_blocking():
    found = kinds(validation=[0, 0])["empty_validation"]

    assert found.severity == "blocking"
    assert "data.split.validation" in found.advice


def test_a_test_split_without_pictures_is_blocking_where_results_on_it_are_asked_for():
    asked, not_asked = (kinds(test=[0, 0], need_test=need) for need in (True, False))

    assert asked["empty_test"].severity == "blocking"
    assert "evaluate: [validation]" in asked["empty_test"].advice
    assert not_asked == {}


def test_pictures_of_classes_that_a_run_leaves_out_do_not_fill_a_split():
    found = kinds(("a", "b", "c"), train=[40, 40, 0], validation=[0, 0, 9], test=[9, 9, 9])

    assert found["empty_validation"].severity == "blocking"


def test_a_single_class_is_blocking():
    found = kinds(("a",), train=[400], validation=[100], test=[100])["empty_class"]

    assert (found.severity, found.title) == ("blocking", "only 1 class")


def test_titles_name_up_to_five_classes():
    names = tuple("abcdefg")

    three = kinds(names, train=[3, 2, 1, 40, 40, 40, 40], validation=[100] * 7, test=[100] * 7)["few_pictures"]
    seven = kinds(names, train=[40] * 7, validation=[100] * 7, test=[0] * 6 + [700])["missing_in_test"]

    assert three.title == "3 classes with fewer than 10 training pictures: c, b, a"
    assert seven.title == "6 classes without a test picture: a, b, c, d, e and 1 more"


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
