"""Which of two equal or similar pictures are named, how gravely, and which is left out."""

from dataclasses import replace

from transferkit.doctor.duplicates import Places, find_alike, find_copies


def places(labels, *, own=None, splits=None) -> Places:
    count = len(labels)
    return Places(
        class_names=("cat", "dog"),
        paths=[f"{row}.jpg" for row in range(count)],
        labels=[(label,) for label in labels],
        own=own or [None] * count,
        splits=splits or [None] * count,
    )


def by_kind(findings):
    return {finding.kind: finding for finding in findings}


def left_out(finding):
    return {one.path for one in finding.exclude}


def test_copies_in_one_class_are_a_note_and_left_in():
    found = by_kind(find_copies(places([0, 0, 0, 1]), [b"a", b"a", b"a", b"b"]))

    assert list(found) == ["copies"]
    assert (found["copies"].severity, found["copies"].num, found["copies"].exclude) == ("note", 2, ())


def test_copies_in_two_classes_are_blocking_and_all_left_out():
    found = by_kind(find_copies(places([0, 1, 0]), [b"a", b"a", b"b"]))["copies_in_classes"]

    assert found.severity == "blocking"
    assert left_out(found) == {"0.jpg", "1.jpg"}


def test_copies_in_the_source_s_own_splits_are_blocking_and_the_test_one_stays():
    found = by_kind(
        find_copies(places([0, 0, 0], own=["train", "test", "validation"], splits=[None, "test", None]), [b"a"] * 3)
    )["copies_across_splits"]

    assert found.severity == "blocking"
    assert left_out(found) == {"0.jpg", "2.jpg"}


def test_files_without_a_digest_are_not_compared():
    assert list(find_copies(places([0, 1]), [b"", b""])) == []


def test_pictures_alike_in_two_splits_are_leakage_and_the_test_one_stays():
    own = ["train", "test"]
    found = by_kind(find_alike(places([0, 0], own=own, splits=own), [(0, 1, 0.9)], grouped=False))["leakage"]

    assert found.severity == "blocking"
    assert found.title.startswith("leakage: 1 test picture looks")
    assert left_out(found) == {"0.jpg"}
    assert (found.pictures[0].path, found.pictures[0].partner) == ("1.jpg", "0.jpg")


def test_leakage_between_splits_that_the_recipe_makes_is_not_answered_by_leaving_out_which_would_make_others():
    found = by_kind(find_alike(places([0, 0], splits=["train", "test"]), [(0, 1, 0.9)], grouped=False))["leakage"]

    assert found.exclude == ()
    assert "data.exclude" not in found.advice
    assert found.settings == (("duplicates", "group"),)


def test_leakage_is_answered_by_grouping_unless_the_recipe_groups_already():
    advice = [
        by_kind(find_alike(places([0, 0], splits=["train", "test"]), [(0, 1, 0.9)], grouped=grouped))["leakage"].advice
        for grouped in (False, True)
    ]

    assert ["data.duplicates: group" in one for one in advice] == [True, False]


def test_pictures_alike_in_two_classes_are_a_conflict_and_both_left_out():
    found = by_kind(find_alike(places([0, 1], splits=["train", "train"]), [(0, 1, 0.9)], grouped=False))

    assert found["label_conflict"].severity == "blocking"
    assert left_out(found["label_conflict"]) == {"0.jpg", "1.jpg"}


def test_pictures_alike_in_one_class_and_split_are_a_note_until_they_are_many():
    few = by_kind(find_alike(places([0] * 40, splits=["train"] * 40), [(0, 1, 0.9)], grouped=False))["alike"]
    many = by_kind(find_alike(places([0] * 4, splits=["train"] * 4), [(0, 1, 0.9)], grouped=False))["alike"]

    assert (few.severity, many.severity) == ("note", "warning")
    assert few.exclude == many.exclude == ()


def test_the_most_alike_pair_comes_first():
    pairs = [(0, 1, 0.90), (2, 3, 0.99)]

    found = by_kind(find_alike(places([0] * 4, splits=["train", "test"] * 2), pairs, grouped=False))["leakage"]

    assert found.pictures[0].path == "3.jpg"


def test_pictures_that_may_be_the_same_are_a_note_in_any_place_and_left_in():
    given = places([0, 1], splits=["train", "test"])

    (found,) = find_alike(given, [(0, 1, 0.87)], grouped=False)

    assert (found.kind, found.severity, found.exclude) == ("perhaps_alike", "note", ())


class Counted(tuple):
    """Counts how often all such are asked for an item."""

    num_asked = 0

    def __getitem__(self, row):
        Counted.num_asked += 1
        return super().__getitem__(row)


def test_many_copies_are_compared_as_often_as_there_are_files(monkeypatch):
    count = 2000
    one_file = places([0] * (count - 1) + [1]), [b"same"] * count
    pairs = places([0] * count, own=["train", "test"] * (count // 2)), [b"%d" % (row // 2) for row in range(count)]
    one_file, pairs = (
        (replace(each, **{name: Counted(getattr(each, name)) for name in ("labels", "own", "splits")}), digests)
        for each, digests in (one_file, pairs)
    )
    monkeypatch.setattr(Counted, "num_asked", 0)

    conflict = by_kind(find_copies(*one_file))["copies_in_classes"]
    straddling = by_kind(find_copies(*pairs))["copies_across_splits"]

    assert count < Counted.num_asked < 20 * 2 * count  # each with each: 1,000 times the number of files
    assert (len(conflict.exclude), straddling.num) == (count, count // 2)
