"""Pictures that look mislabelled, by the features of the recipe's backbone."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from transferkit.data.copies import keep_one_of_each
from transferkit.data.listing import Listing, Split
from transferkit.data.load import Data
from transferkit.data.prepare import prepare_pictures
from transferkit.doctor.findings import Evidence, Finding, counted
from transferkit.doctor.suspects import Suspect, suspect_labels
from transferkit.progress import Progress
from transferkit.recipe.recipe import Recipe

_MAX_PAIRS: Final = 10
# Probability of its own class below which a picture counts, and the share of such pictures from which it is a warning.
# Chosen on clip art and clothes, clean and with planted wrong labels; some clean sets are above it, since it is better
# to look in vain than to pass over wrong labels.
_HARDLY: Final = 0.05
_MANY: Final = 0.01


def find_mislabelled(
    recipe: Recipe, listing: Listing, splits: Mapping[str, Split | None], *, progress: Progress
) -> Iterator[Finding]:
    """A finding if any pictures look as if they were of another class than their label's.

    Pictures and features are kept where a run looks for them, so the run that follows computes neither again.

    Args:
        splits: of a run, by path.

    Raises:
        WeightsError: the backbone's weights are not to be had.
    """
    if reason := _why_not(recipe):
        yield Finding(
            kind="labels_not_examined",
            severity="note",
            title="labels were not examined",
            meaning=f"Pictures that look mislabelled are not looked for {reason}.",
            advice="Nothing needs to be done.",
        )
        return
    data = load_pictures(recipe, listing, progress)
    rows = data.rows["train"]
    features = features_of(recipe, data, progress)
    suspects = suspect_labels(features, data.labels[rows], seed=recipe.seed, progress=progress)
    sure = [one for one in suspects if one.confident]
    if not sure:
        return
    # One that is less sure for each that is sure: among them are nearly as many wrong labels.
    others = [one for one in suspects if not one.confident][: len(sure)]
    listed = sorted((*sure, *others), key=lambda one: one.score)
    perhaps = f", and {counted(len(others), 'other')} perhaps" if others else ""
    paths = [data.paths[row] for row in rows]
    in_test = sum(splits.get(paths[one.row]) == "test" for one in sure)
    many = sum(one.probability_of_label < _HARDLY for one in sure) > _MANY * len(rows)
    yield Finding(
        kind="mislabelled",
        severity="warning" if many else "note",
        title=f"{counted(len(sure), 'picture')} may be mislabelled{perhaps}"
        + ("" if many else ": more likely unusual"),
        meaning="A classifier on the backbone's features, trained without the picture, is as sure of another class as "
        "it is of pictures that are labelled so. Wrong labels cost accuracy, and in the test split they falsify it"
        f"{f' ({in_test:,} of these are there)' if in_test else ''}. "
        + ("Some of these will be" if many else "Most of these may well be")
        + " right, but unusual or hard; of the others it is less sure.",
        advice="Look at them, from the top. Move those that are wrong to their class, or name them in data.exclude.",
        pictures=tuple(_evidence(one, paths, splits, data.class_names) for one in listed),
        num=len(sure),
        table=_pairs_of_classes(sure, data.class_names),
    )


def _why_not(recipe: Recipe) -> str:
    if recipe.multi_label:
        return "where a picture may have any number of classes"
    return "without pretrained weights, whose features tell classes apart" if recipe.model.weights == "none" else ""


def load_pictures(recipe: Recipe, listing: Listing, progress: Progress) -> Data:
    """All pictures in one split, copies once."""
    prepared = prepare_pictures(listing, recipe.data, cache=recipe.cache, progress=progress)
    keep, copies = keep_one_of_each(prepared.pictures, prepared.digests, listing.class_names)
    none = np.empty(0, np.int64)
    return Data(
        class_names=listing.class_names,
        images=prepared.images,
        labels=np.array([picture.label for picture in prepared.pictures], np.int32),
        weights=np.ones(len(prepared.pictures), np.float32),
        paths=tuple(picture.path for picture in prepared.pictures),
        digests=prepared.digests,
        rows={"train": np.array(keep, np.int64), "validation": none, "test": none},
        skipped=(*prepared.skipped, *copies),
    )


def features_of(recipe: Recipe, data: Data, progress: Progress) -> np.ndarray:
    """`(num_pictures, feature_dim)`, what enters the head, of the pictures in `data.rows["train"]`."""
    if not len(data.rows["train"]):
        return np.empty((0, 1), np.float32)
    from transferkit.train.runtime import choose_backend, resolve_precision

    choose_backend(recipe.runtime.backend)
    from transferkit.backbones.table import BACKBONES
    from transferkit.model.classifier import build_classifier
    from transferkit.train.features import Features
    from transferkit.train.placement import open_strategy

    strategy = open_strategy(recipe.runtime.model_copy(update={"strategy": "single"}))
    precision = resolve_precision(recipe.runtime.precision)
    classifier = build_classifier(
        recipe.model,
        BACKBONES[recipe.model.backbone],
        image_size_px=recipe.data.image_size,
        num_classes=len(data.class_names),
        seed=recipe.seed,
        precision=precision,
    )
    features = Features(classifier, data, recipe=recipe, precision=precision, strategy=strategy, progress=progress)
    cut = len(classifier.stage_ends)
    features.prepare([cut], "train")
    return features.rows(cut, "train")[np.arange(len(data.rows["train"]))].astype(np.float32, copy=False)


def _evidence(
    one: Suspect, paths: Sequence[str], splits: Mapping[str, Split | None], class_names: Sequence[str]
) -> Evidence:
    label, likely = class_names[one.label], class_names[one.likely_label]
    path, partner = paths[one.row], paths[one.nearest[0]]
    return Evidence(
        path=path,
        note=f"labelled {label} ({one.probability_of_label:.0%}), looks like {likely} ({one.probability_of_likely:.0%})"
        f"{_in_split(splits.get(path))}",
        partner=partner,
        partner_note=f"of {likely} the most alike{_in_split(splits.get(partner))}",
    )


def _in_split(split: Split | None) -> str:
    return f", in {split}" if split else ""


def _pairs_of_classes(suspects: Sequence[Suspect], class_names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Which classes are confused more than once, the most frequent first."""
    pairs = Counter((one.label, one.likely_label) for one in suspects).most_common(_MAX_PAIRS)
    rows = [(class_names[label], class_names[likely], str(count)) for (label, likely), count in pairs if count > 1]
    return (("labelled", "looks like", "pictures"), *rows) if rows else ()
