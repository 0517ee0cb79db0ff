"""Pictures that look mislabelled, by the features of a real backbone with its ImageNet weights."""

from dataclasses import replace

import numpy as np
import pytest

from transferkit.check import load_recipe
from transferkit.data.source import list_source
from transferkit.doctor import labels
from transferkit.doctor.labels import features_of, find_mislabelled, load_pictures
from transferkit.doctor.suspects import Suspect
from transferkit.progress import Quiet

NUM_PLANTED = 24  # of 484: 5 %


class Listener(Quiet):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def clipart(tmp_path_factory):
    """A recipe for the embedded pictures, made smaller, with a cache of its own, and its listing."""
    cache = tmp_path_factory.mktemp("cache")
    recipe = load_recipe("quickstart", ["data.image_size=96", f"cache.folder={cache}"])
    return recipe, list_source(recipe.data)


def with_wrong_labels(listing, seed):
    """The same listing with some pictures in another class, and their paths."""
    draw = np.random.default_rng(seed)
    pictures, num_classes = list(listing.pictures), len(listing.class_names)
    for position in draw.choice(len(pictures), NUM_PLANTED, replace=False).tolist():
        label = (pictures[position].label + int(draw.integers(1, num_classes))) % num_classes
        pictures[position] = replace(pictures[position], label=label)
    changed = {one.path for one, old in zip(pictures, listing.pictures, strict=True) if one.label != old.label}
    return replace(listing, pictures=tuple(pictures)), changed


@pytest.mark.model
def test_most_wrong_labels_among_the_embedded_pictures_are_found_and_features_are_computed_once(clipart):
    recipe, listing = clipart
    noisy, planted = with_wrong_labels(listing, seed=0)
    assert len(planted) == NUM_PLANTED
    features_of(recipe, load_pictures(recipe, listing, Quiet()), Quiet())
    progress = Listener()

    splits = {one.path: "test" if at % 2 else "train" for at, one in enumerate(noisy.pictures)}

    (finding,) = find_mislabelled(recipe, noisy, splits, progress=progress)

    found = [one.path for one in finding.pictures]
    assert len(planted & set(found[: 2 * NUM_PLANTED])) >= 0.6 * NUM_PLANTED
    assert "features of the frozen part, train: all 484 pictures are stored already" in progress.lines
    assert (finding.kind, finding.severity, finding.exclude) == ("mislabelled", "warning", ())
    assert finding.num <= len(found) == len(set(found)) <= 2 * finding.num
    assert {len(row) for row in finding.table} <= {3}
    assert all(int(count) > 1 for *_, count in finding.table[1:])
    classes = {one.path: listing.class_names[one.label] for one in noisy.pictures}
    for one in finding.pictures:
        assert one.note.startswith(f"labelled {classes[one.path]} (")
        assert f"looks like {classes[one.partner]} (" in one.note
        assert one.note.endswith(f", in {splits[one.path]}")
        assert one.partner_note == f"of {classes[one.partner]} the most alike, in {splits[one.partner]}"


@pytest.fixture
def found(clipart, monkeypatch):
    """`found(suspects, splits)`: the finding about these suspects among the 484 pictures."""
    recipe, listing = clipart

    def found(suspects, splits=None):
        monkeypatch.setattr(labels, "features_of", lambda *_: None)
        monkeypatch.setattr(labels, "suspect_labels", lambda *_, **__: suspects)
        return next(find_mislabelled(recipe, listing, splits or {}, progress=Quiet()))

    return found


def suspect(row, probability_of_label=0.1, confident=True):
    return Suspect(row, 0, 1, probability_of_label, 0.9, row - 500.0, confident, (400,))


def test_the_title_counts_every_picture_that_is_listed_and_none_that_is_sure_is_missing(clipart, found):
    sure = {5, 7}  # of eight, the worst first
    paths = [picture.path for picture in clipart[1].pictures]

    finding = found([suspect(row, confident=row in sure) for row in range(8)])

    assert finding.title.startswith("2 pictures may be mislabelled, and 2 others perhaps")
    assert [paths.index(one.path) for one in finding.pictures] == [0, 1, 5, 7]
    assert finding.num == 2


def test_all_that_may_be_mislabelled_are_listed_however_many(found):
    finding = found([suspect(row, confident=row % 2 == 0) for row in range(400)])

    assert len(finding.pictures) == 400


@pytest.mark.parametrize(
    ("num_sure", "probability", "severity"), [(5, 0.01, "warning"), (4, 0.01, "note"), (40, 0.1, "note")]
)
def test_a_few_that_are_hardly_of_their_class_are_a_note(found, num_sure, probability, severity):
    finding = found([suspect(row, probability) for row in range(num_sure)])

    assert finding.severity == severity
    assert ("more likely unusual" in finding.title) == (severity == "note")


def test_suspects_in_the_test_split_are_counted(clipart, found):
    splits = {picture.path: "test" for picture in clipart[1].pictures[:2]}

    finding = found([suspect(row) for row in range(5)], splits)

    assert "falsify it (2 of these are there)" in finding.meaning


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["loss=binary_cross_entropy", "data.source={csv: labels.csv}"], "any number of classes"),
        (["model.weights=none"], "without pretrained weights"),
    ],
    ids=["several classes", "no weights"],
)
def test_what_cannot_be_examined_is_said_before_anything_is_read(changes, reason):
    recipe = load_recipe("quickstart", changes)

    (finding,) = find_mislabelled(recipe, None, {}, progress=Quiet())

    assert finding.kind == "labels_not_examined"
    assert finding.severity == "note"
    assert reason in finding.meaning
