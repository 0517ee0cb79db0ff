"""Choosing classes: pure functions on listings."""

import logging

import pytest

from transferkit.data.classes import choose_classes
from transferkit.data.listing import Listing, Picture
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import FolderSource


def listing_of(*labels, names=("bee", "cat", "dog")) -> Listing:
    """A picture for each label; its bytes say which it is."""
    return Listing(
        class_names=names,
        pictures=tuple(Picture(f"{row}.png", label) for row, label in enumerate(labels)),
        read=lambda chosen: (str(row).encode() for row in chosen),
        origin="photos",
        stamps=lambda: (f"stamp {row}" for row in range(len(labels))),
    )


def choose(listing, **settings) -> Listing:
    return choose_classes(listing, DataSpec(source=FolderSource(path="photos"), **settings))


def classes_of(listing) -> dict[str, tuple[str, ...]]:
    return {one.path: tuple(listing.class_names[label] for label in one.labels) for one in listing.pictures}


def test_without_wishes_nothing_changes():
    before = listing_of(0, 2, 1, 0)

    after = choose(before)

    assert (after.class_names, after.pictures, after.skipped) == (before.class_names, before.pictures, ())


def test_pictures_of_classes_that_are_not_kept_go_and_the_rest_is_read_and_stamped_as_before():
    after = choose(listing_of(0, 2, 1, 2), keep_classes=("dog", "bee"))

    assert after.class_names == ("bee", "dog")
    assert classes_of(after) == {"0.png": ("bee",), "1.png": ("dog",), "3.png": ("dog",)}
    assert list(after.read([0, 2])) == [b"0", b"3"]
    assert list(after.stamps()) == ["stamp 0", "stamp 1", "stamp 3"]
    assert after.skipped == ()


def test_renamed_classes_keep_their_pictures_and_are_sorted_anew():
    after = choose(listing_of(0, 1, 2), rename={"bee": "wasp", "dog": "hound"})

    assert after.class_names == ("cat", "hound", "wasp")
    assert classes_of(after) == {"0.png": ("wasp",), "1.png": ("cat",), "2.png": ("hound",)}


def test_two_classes_can_swap_their_names():
    after = choose(listing_of(0, 1, 2), rename={"bee": "cat", "cat": "bee"})

    assert classes_of(after) == {"0.png": ("cat",), "1.png": ("bee",), "2.png": ("dog",)}


def test_merged_classes_are_one():
    after = choose(listing_of(0, 1, 2), merge={"pet": ("cat", "dog")})

    assert after.class_names == ("bee", "pet")
    assert classes_of(after) == {"0.png": ("bee",), "1.png": ("pet",), "2.png": ("pet",)}


def test_each_wish_sees_the_names_that_the_one_before_left():
    after = choose(
        listing_of(0, 1, 2, names=("bee", "cat", "dog")),
        keep_classes=("cat", "dog", "bee"),
        rename={"cat": "tiger"},
        merge={"mammal": ("tiger", "dog")},
        class_names=("mammal", "bee"),
    )

    assert after.class_names == ("mammal", "bee")
    assert [one.label for one in after.pictures] == [1, 0, 0]


def test_the_order_of_the_recipe_wins():
    after = choose(listing_of(0, 1, 2), class_names=("dog", "bee", "cat"))

    assert after.class_names == ("dog", "bee", "cat")
    assert [one.label for one in after.pictures] == [1, 2, 0]


def test_an_order_of_the_data_set_s_own_stays():
    after = choose(listing_of(0, 1, 2, names=("ten", "nine", "eight")), rename={"nine": "zero"})

    assert after.class_names == ("ten", "zero", "eight")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"keep_classes": ("cats", "dog")}, "data.keep_classes: there is no class 'cats'; did you mean 'cat'?"),
        ({"rename": {"CAT": "x"}}, "data.rename: there is no class 'CAT'; did you mean 'cat'?\n    classes: bee, cat"),
        ({"merge": {"pet": ("cat", "dgo")}}, "data.merge.pet: there is no class 'dgo'; did you mean 'dog'?"),
        ({"keep_classes": ("cat", "dog"), "rename": {"bee": "x"}}, "data.rename: there is no class 'bee'"),
        ({"rename": {"cat": "dog"}}, "use data.merge: {dog: [cat, dog]}"),
        ({"merge": {"dog": ("cat", "bee")}}, "there is a class 'dog' already"),
        ({"merge": {"x": ("cat",), "y": ("cat", "dog")}}, "'cat' can go into one class only, not into x and y"),
        ({"class_names": ("bee", "cat")}, "data.class_names lacks dog"),
        ({"class_names": ("bee", "cat", "dog", "eel")}, "data.class_names: there is no class 'eel'"),
        ({"class_names": ("bee", "cat", "dog", "dog")}, "data.class_names names dog twice"),
        ({"rename": {"cat": "a\nb"}}, "cannot be printed"),
        ({"rename": {"cat": " "}}, "cannot be printed"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(settings, says):
    with pytest.raises(DataError) as caught:
        choose(listing_of(0, 1, 2), **settings)

    assert says in str(caught.value)


def test_long_lists_of_classes_are_cut():
    names = tuple(f"class {number:04}" for number in range(1000))

    with pytest.raises(DataError) as caught:
        choose(listing_of(*range(1000), names=names), keep_classes=("class 001",))

    assert len(str(caught.value)) < 500
    assert "1000 in all" in str(caught.value)


def test_a_class_may_be_merged_under_its_own_name():
    after = choose(listing_of(0, 1, 2, names=("Cat", "cat", "dog")), merge={"cat": ("Cat", "cat")})

    assert classes_of(after) == {"0.png": ("cat",), "1.png": ("cat",), "2.png": ("dog",)}


def test_of_a_picture_with_several_classes_those_that_are_kept_stay():
    after = choose(listing_of((0, 1), (1, 2), (), (0,)), keep_classes=("cat", "dog"), merge={"pet": ("cat", "dog")})

    assert classes_of(after) == {"0.png": ("pet",), "1.png": ("pet",), "2.png": ()}


@pytest.mark.parametrize("labels", [(0, 2), ((0, 2), (2,))])
def test_a_class_without_pictures_is_left_out_and_told_of(labels, caplog):
    with caplog.at_level(logging.WARNING):
        after = choose(listing_of(*labels), class_names=("cat", "dog", "bee"))

    assert after.class_names == ("dog", "bee")
    assert [(one.path, one.reason) for one in after.skipped] == [("cat", "a class without any picture")]
    assert "1 class has no picture, and will not be in the run: cat" in caplog.text


def test_an_order_need_not_name_a_class_without_pictures():
    after = choose(listing_of(0, 2), class_names=("dog", "bee"))

    assert after.class_names == ("dog", "bee")
    assert [one.path for one in after.skipped] == ["cat"]


def test_classes_that_differ_in_case_alone_stay_apart_and_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        after = choose(listing_of(0, 1, 2, names=("Cat", "cat", "dog")))

    assert after.class_names == ("Cat", "cat", "dog")
    assert "data.merge: {Cat: [Cat, cat]}" in caplog.text
    assert "dog" not in caplog.text
