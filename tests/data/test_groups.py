"""What keeps pictures together."""

import pytest

from transferkit.data.groups import find_groups, join
from transferkit.data.listing import Picture
from transferkit.errors import DataError


def test_pairs_join_over_any_number_of_steps():
    assert join([(5, 3), (3, 1), (4, 2)], 6) == [0, 1, 2, 1, 2, 1]


def test_a_picture_alone_is_named_by_its_path():
    assert find_groups([Picture("a/1.png", 0), Picture("a/2.png", 0)]) == ("a/1.png", "a/2.png")


@pytest.mark.parametrize(("pattern", "same"), [(r"p\d", True), (r"(p)\d", True), (r"p1_\d+", False)])
def test_the_first_group_of_a_pattern_counts_or_the_whole_match(pattern, same):
    first, second = find_groups([Picture("p1_10", 0), Picture("p1_11", 0)], pattern)

    assert (first == second) == same


def test_column_pattern_and_likeness_join_where_they_meet():
    pictures = [Picture("x_1", 0, group="g"), Picture("x_2", 0), Picture("y", 0, group="g"), Picture("z", 0)]

    names = find_groups(pictures, r"^x", [(2, 3)])

    assert len(set(names)) == 1


def test_a_path_is_never_taken_for_the_name_of_a_group():
    names = find_groups([Picture("g", 0), Picture("a", 0, group="g")])

    assert names[0] != names[1]


def test_a_pattern_that_matches_nothing_is_refused_with_a_path():
    with pytest.raises(DataError, match="class_0/1.png"):
        find_groups([Picture("class_0/1.png", 0)], r"patient(\d+)")
