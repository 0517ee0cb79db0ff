"""What `transferkit show` shows: training pictures before and after each augmentation of a recipe."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from transferkit.data.decode import Resize, decode_picture
from transferkit.data.listing import Listing, Picture
from transferkit.data.manifest import apply_manifest
from transferkit.data.middle import middle_of, prepared_size_px
from transferkit.data.splits import assign_splits
from transferkit.doctor.facts import read_facts
from transferkit.errors import DataError, PictureError
from transferkit.model.augment import augment_batch, build_augmentations, mixes_labels
from transferkit.model.draws import Draws
from transferkit.progress import Progress
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.spec import Choice
from transferkit.report.contact_sheet import Column, plot_contact_sheet

_NUM_TOGETHER: Final = 2
# Grey levels below which a picture counts as it was.
_SAME_LEVELS: Final = 0.5
_MAX_MIXED: Final = 3
_MAX_CLASSES: Final = 3
_NO_CLASS: Final = "no class"


def look_at(recipe: Recipe, listing: Listing, *, count: int, progress: Progress) -> Figure:
    """A contact sheet of training pictures: as the model receives them, after each augmentation by itself, and after
    all of them in turn.

    No other pictures are read. One that is a copy of another may be shown although a run leaves it out.

    Args:
        count: how many pictures, of as many classes as possible.

    Raises:
        DataError: no training picture can be read.
    """
    spec = recipe.data
    if spec.split.manifest:
        listing, _ = apply_manifest(listing, Path(spec.split.manifest).expanduser())
    splits = assign_splits(listing.pictures, spec.split, seed=recipe.seed).splits
    training = [position for position, split in enumerate(splits) if split == "train"]
    order = _by_turns(training, listing.pictures, seed=recipe.seed)
    encoded = _read_good(listing, order, count, recipe, progress)
    pictures = [listing.pictures[position] for position in encoded]
    larger = _decode_all(encoded.values(), recipe, spec.resize, margin=recipe.margin)
    images = middle_of(larger, spec.image_size)
    columns = [*_original(list(encoded.values()), recipe), Column(("as read", "and resized"), images)]
    if recipe.augment:
        labels = _one_hot(pictures, len(listing.class_names))
        columns += _augmented(images, larger, labels, listing.class_names, recipe, progress)
    return plot_contact_sheet(
        columns, captions=[_names(picture, listing.class_names) for picture in pictures], title=_title(recipe)
    )


def _by_turns(positions: Sequence[int], pictures: Sequence[Picture], *, seed: int) -> list[int]:
    """All positions in an order that takes one picture of each class, then a second one of each."""
    draw = np.random.default_rng(seed)
    by_class: dict[int, list[int]] = {}
    for position in draw.permutation(np.array(positions, np.int64)).tolist():
        by_class.setdefault(next(iter(pictures[position].labels), -1), []).append(position)
    turns = [(turn, position) for own in by_class.values() for turn, position in enumerate(own)]
    return [position for _, position in sorted(turns, key=lambda one: one[0])]


def _read_good(
    listing: Listing, order: Sequence[int], count: int, recipe: Recipe, progress: Progress
) -> dict[int, bytes]:
    """The first pictures that can be read, as files by position, by class.

    Raises:
        DataError: none can.
    """
    good: dict[int, bytes] = {}
    bad: list[str] = []
    left = list(order)
    with progress.task("reading pictures", min(count, len(order)), "pictures") as task:
        while left and len(good) < count:
            needed = count - len(good)
            chosen, left = sorted(left[:needed]), left[needed:]
            for position, encoded in zip(chosen, listing.read(chosen), strict=True):
                try:
                    if isinstance(encoded, PictureError):
                        raise encoded
                    decode_picture(encoded, size_px=8, resize="crop", max_megapixels=recipe.data.max_megapixels)
                except PictureError as error:
                    bad.append(f"{listing.pictures[position].path}: {error}")
                else:
                    good[position] = encoded
                    task.advance()
    if not good:
        reasons = "".join(f"\n  {reason}" for reason in bad[:5])
        raise DataError(f"{listing.origin}: no training picture can be read.{reasons}")
    for reason in bad:
        progress.say(f"left out: {reason}")
    by_class = sorted(good, key=lambda position: (listing.pictures[position].labels, position))
    return {position: good[position] for position in by_class}


def _decode_all(files: Any, recipe: Recipe, resize: Any, *, margin: float = 0.0) -> np.ndarray:
    size = {"size_px": prepared_size_px(recipe.data.image_size, margin), "max_megapixels": recipe.data.max_megapixels}
    return np.stack([decode_picture(encoded, resize=resize, **size) for encoded in files])


def _original(files: Sequence[bytes], recipe: Recipe) -> Iterator[Column]:
    """The whole pictures, where the model does not see them so: what is cut off, or in their own shape."""
    resize, margin = recipe.data.resize, recipe.margin
    if resize == "pad" and not margin:
        return
    shapes = [(facts.width, facts.height) for facts in map(read_facts, files)]
    notes = [(f"{width} x {height} px",) for width, height in shapes]
    whole = _decode_all(files, recipe, "pad")
    if resize == "stretch" and not margin:
        yield Column(("file",), whole, notes)
        return
    share = recipe.data.image_size / prepared_size_px(recipe.data.image_size, margin)
    frames = [_kept(*shape, resize, share) for shape in shapes]
    title = ("the frame is kept;", "training moves it") if margin else ("the frame is kept",)
    yield Column(("file", *title), whole, notes, frames)


def _kept(width: int, height: int, resize: Resize, share: float) -> tuple[float, float, float, float]:
    """The part of a picture that is kept, within the square that holds all of it: left, top, width and height.

    Args:
        share: of each side that a margin for random crops leaves.
    """
    longer, shorter = max(width, height), min(width, height)
    sides = {"crop": (shorter, shorter), "stretch": (width, height), "pad": (longer, longer)}[resize]
    wide, tall = (share * side / longer for side in sides)
    return (1 - wide) / 2, (1 - tall) / 2, wide, tall


def _augmented(
    images: np.ndarray,
    larger: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    recipe: Recipe,
    progress: Progress,
) -> Iterator[Column]:
    layers = build_augmentations(recipe.augment, seed=recipe.seed)
    with progress.task("augmenting", len(layers) + _NUM_TOGETHER, "columns") as task:

        def column(title: tuple[str, ...], chosen: Sequence[Any], step: int) -> Column:
            before = larger if recipe.margin and chosen[0] is layers[0] else images  # a random crop comes first
            inputs = ops.convert_to_tensor(before, "float32"), ops.convert_to_tensor(labels)
            with Draws(chosen, seed=recipe.seed, stream="show").at(step):
                changed, mixed = map(ops.convert_to_numpy, augment_batch(chosen, *inputs))
            task.advance()
            if any(map(mixes_labels, chosen)):
                return Column(title, changed, [_shares(row, class_names) for row in mixed])
            same = np.abs(changed - images).max(axis=(1, 2, 3)) < _SAME_LEVELS
            return Column(title, changed, [("unchanged",) if one else () for one in same])

        for index, (layer, given) in enumerate(zip(layers, recipe.augment, strict=True)):
            yield column(_described(given), [layer], index)
        for draw in range(_NUM_TOGETHER if len(layers) > 1 else 0):
            yield column(("all in turn", f"draw {draw + 1}"), layers, draw)


def _described(given: Choice) -> tuple[str, ...]:
    """An augmentation's name and its parameters, a line each."""
    values: Mapping[str, object] = given.model_dump(exclude={"kind"})
    return given.kind, *(
        f"{name} {value:.3g}" if isinstance(value, (int, float)) else str(value) for name, value in values.items()
    )


def _one_hot(pictures: Sequence[Picture], num_classes: int) -> np.ndarray:
    labels = np.zeros((len(pictures), num_classes), np.float32)
    for row, picture in zip(labels, pictures, strict=True):
        row[list(picture.labels)] = 1
    return labels


def _shares(label: np.ndarray, class_names: Sequence[str]) -> tuple[str, ...]:
    """A mixed label, the largest shares first."""
    largest = [index for index in np.argsort(-label, kind="stable")[:_MAX_MIXED] if label[index] >= 0.005]
    return tuple(f"{label[index]:.0%} {class_names[index]}" for index in largest) or (_NO_CLASS,)


def _names(picture: Picture, class_names: Sequence[str]) -> str:
    names = [class_names[label] for label in picture.labels] or [_NO_CLASS]
    return ", ".join(names[:_MAX_CLASSES]) + (", …" if len(names) > _MAX_CLASSES else "")


def _title(recipe: Recipe) -> list[str]:
    about = f"{recipe.data.image_size} px, resize: {recipe.data.resize}"
    lines = [f"{recipe.name}: training pictures as the model receives them, {about}"]
    if not recipe.augment:
        return [*lines, "The recipe augments nothing."]
    acting = ", ".join(phase.name for phase in recipe.phases if phase.augment)
    resting = ", ".join(phase.name for phase in recipe.phases if not phase.augment)
    lines.append(f"Augmentation acts in {acting}" if acting else "Augmentation acts in no phase")
    lines[-1] += f", not in {resting}." if acting and resting else "."
    return lines
