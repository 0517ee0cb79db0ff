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

    (finding,) = find_mislabelled(recipe, noisy, progress=progress)

    found = [one.path for one in finding.pictures]
    assert len(planted & set(found[: 2 * NUM_PLANTED])) >= 0.6 * NUM_PLANTED
    assert "features of the frozen part, train: all 484 pictures are stored already" in progress.lines
    assert (finding.kind, finding.severity, finding.exclude) == ("mislabelled", "warning", ())
    assert finding.num <= len(found) == len(set(found)) <= 2 * finding.num
    assert len({len(row) for row in finding.table}) == 1
    classes = {one.path: listing.class_names[one.label] for one in noisy.pictures}
    for one in finding.pictures:
        assert one.note.startswith(f"labelled {classes[one.path]} (")
        assert f"looks like {classes[one.partner]} (" in one.note
        assert one.partner_note == f"of {classes[one.partner]} the most alike"


def test_the_title_counts_every_picture_that_is_listed_and_none_that_is_sure_is_missing(clipart, monkeypatch):
    recipe, listing = clipart
    sure = {5, 7}  # of eight, the worst first
    suspects = tuple(Suspect(row, 0, 1, 0.1, 0.9, row - 10.0, row in sure, (9,)) for row in range(8))
    monkeypatch.setattr(labels, "features_of", lambda *_: None)
    monkeypatch.setattr(labels, "suspect_labels", lambda *_, **__: suspects)
    paths = [picture.path for picture in listing.pictures]

    (finding,) = find_mislabelled(recipe, listing, progress=Quiet())

    assert finding.title == "2 pictures may be mislabelled, and 2 others perhaps"
    assert [paths.index(one.path) for one in finding.pictures] == [0, 1, 5, 7]
    assert finding.num == 2


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

    (finding,) = find_mislabelled(recipe, None, progress=Quiet())

    assert finding.kind == "labels_not_examined"
    assert finding.severity == "note"
    assert reason in finding.meaning
