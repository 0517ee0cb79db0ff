"""Copies are found under all that happens to them on their way, and hardly anything else is."""

import io
import tracemalloc
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from transferkit.data import lookalikes
from transferkit.data.decode import decode_picture
from transferkit.data.lookalikes import Lookalike, find_lookalikes, group_lookalikes

SIZE_PX = 64


def encode_again(picture, draw):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(draw.integers(40, 90)))
    return Image.open(file).convert("RGB")


def resize(picture, draw):
    factor = draw.uniform(0.5, 1.5)
    return picture.resize([max(16, round(side * factor)) for side in picture.size], Image.Resampling.BICUBIC)


def crop(picture, draw):
    left, upper, right, lower = draw.uniform(0, 0.05, 4) * (*picture.size, *picture.size)
    return picture.crop((round(left), round(upper), picture.width - round(right), picture.height - round(lower)))


def brighten(picture, draw):
    return ImageEnhance.Brightness(picture).enhance(draw.uniform(0.85, 1.15))


def do_all(picture, draw):
    for change in (crop, resize, brighten, encode_again):
        picture = change(picture, draw)
    return picture


def prepare(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return decode_picture(file.getvalue(), size_px=SIZE_PX, resize="crop", max_megapixels=100)


@pytest.fixture(scope="module")
def clipart():
    """Drawings on white, many of them alike: every second of the sample."""
    root = Path(str(files("transferkit.data") / "clipart"))
    paths = sorted(root.rglob("*.png"))[::2]
    return [
        Image.fromarray(decode_picture(one.read_bytes(), size_px=128, resize="pad", max_megapixels=9)) for one in paths
    ]


@pytest.mark.parametrize(
    ("change", "share"),
    [(encode_again, 1.0), (resize, 1.0), (crop, 0.96), (brighten, 0.96), (do_all, 0.92)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_changed_copies_are_found_and_hardly_anything_else(clipart, change, share):
    draw = np.random.default_rng(0)
    copied = draw.choice(len(clipart), 60, replace=False)
    images = np.stack([prepare(one) for one in [*clipart, *(change(clipart[row], draw) for row in copied)]])
    copies = {(int(row), len(clipart) + number) for number, row in enumerate(copied)}

    found = {(pair.first, pair.second) for pair in find_lookalikes(images)}

    assert len(found & copies) >= share * len(copies)
    assert len(found - copies) <= 3


def silhouettes(count, draw):
    """Shirts on black: one outline for all, with other sleeves, folds and shades."""
    for _ in range(count):
        picture = Image.new("RGB", (SIZE_PX, SIZE_PX))
        canvas, shade = ImageDraw.Draw(picture), int(draw.integers(120, 220))
        sleeve, waist, hem = draw.uniform(2, 9), draw.uniform(14, 20), draw.uniform(50, 60)
        outline = [(sleeve, 22), (18, 6), (46, 6), (62 - sleeve, 22), (64 - waist, 28), (62 - waist, hem), (waist, hem)]
        canvas.polygon([*outline, (waist, 28)], fill=(shade,) * 3)
        for _ in range(5):
            (x, y), length = draw.uniform(18, 44, 2), draw.uniform(6, 16)
            fold = shade + int(draw.choice([-100, -70, 35]))
            canvas.line((x, y, x + draw.uniform(-3, 3), y + length), fill=(fold,) * 3, width=3)
        yield picture


def test_of_shapes_that_are_all_alike_the_copies_stand_out():
    draw = np.random.default_rng(1)
    shapes = list(silhouettes(400, draw))
    images = np.stack([*map(np.asarray, shapes), *(np.asarray(encode_again(one, draw)) for one in shapes[:20])])

    found = {(pair.first, pair.second) for pair in find_lookalikes(images)}

    assert found >= {(row, 400 + row) for row in range(20)}
    assert len(found) <= 20 + 12


def noise(count, draw):
    return draw.integers(0, 256, (count, 8, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def test_a_small_part_in_another_colour_tells_pictures_apart(clipart):
    lamps = []
    for colour in ("lime", "orange"):
        picture = clipart[0].copy()
        ImageDraw.Draw(picture).ellipse((50, 50, 74, 74), fill=colour)
        lamps.append(prepare(picture))
    others = [prepare(one) for one in clipart[1:40]]

    assert find_lookalikes(np.array([*lamps, *others])) == []
    assert find_lookalikes(np.array([lamps[0], *others, lamps[0]]))[0][:2] == (0, 40)


def test_pictures_of_one_colour_are_alike_only_if_they_are_equal():
    greys = np.array([10, 200, 10, 12, 255, 200], np.uint8)
    images = np.broadcast_to(greys[:, None, None, None], (6, 40, 40, 3))

    assert find_lookalikes(images) == [Lookalike(0, 2, 1.0), Lookalike(1, 5, 1.0)]


def test_many_equal_pictures_are_joined_without_all_their_pairs():
    draw = np.random.default_rng(2)
    images = np.concatenate([noise(30, draw), noise(1, draw).repeat(50, axis=0)])

    found = find_lookalikes(images)

    assert len(found) == 49
    assert set(group_lookalikes(found, 80)[30:]) == {30}


def test_a_long_burst_in_a_set_of_other_pictures_is_found():
    draw = np.random.default_rng(3)
    burst = [np.asarray(encode_again(Image.fromarray(noise(1, np.random.default_rng(9))[0]), draw)) for _ in range(15)]
    images = np.stack([*noise(300, draw), *burst])

    groups = group_lookalikes(find_lookalikes(images), len(images))

    assert len(set(groups[300:])) == 1
    assert len(set(groups)) == 301


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_no_fault(count):
    assert find_lookalikes(noise(count, np.random.default_rng(4))) == []


def test_rows_that_are_read_in_parts_give_the_same(clipart):
    class InParts:
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, chosen):
            part = self.images[chosen]
            assert len(part) <= 64
            return part

    images = np.stack([prepare(one) for one in clipart[:40]])
    images = np.concatenate([images, images[::-1] // 2 + 40])

    assert find_lookalikes(InParts(images)) == find_lookalikes(images) != []


def test_the_nearest_are_those_that_sorting_all_would_give(monkeypatch):
    monkeypatch.setattr(lookalikes, "_TILE", 700)
    described = np.random.default_rng(5).normal(1, 0.7, (1500, 96)).astype(np.float32)
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    described[1100:] = described[1099]  # so many that are as near
    rows = np.array([0, 3, 699, 700, 1399, 1499])

    found = lookalikes._nearest(described[rows], rows, described, 8)

    likeness = described[rows] @ described.T
    likeness[np.arange(len(rows)), rows] = -1
    best = -np.sort(-likeness, axis=1)[:, :8]
    reached = [likeness[at, found[1, found[0] == row]] for at, row in enumerate(rows)]
    np.testing.assert_array_equal([-np.sort(-one) for one in reached], best)


def test_of_many_that_are_as_near_none_is_a_neighbour_of_what_is_unlike():
    draw = np.random.default_rng(7)
    described = draw.normal(size=(1024, 96)).astype(np.float32)
    described[::2] = described[0]
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    rows = np.arange(len(described))

    found = lookalikes._nearest(described, rows, described, 8)

    assert (found % 2 == 0).all()  # the others are unlike all
    assert (np.bincount(found[0])[::2] == 8).all()


def test_memory_grows_by_less_than_the_thumbnails_take(monkeypatch):
    monkeypatch.setattr(lookalikes, "_QUERIES", 16)  # what does not grow is small beside
    images = noise(2000, np.random.default_rng(6))[:, :32, :32]
    peaks = []

    for count in (500, 2000):
        tracemalloc.start()
        find_lookalikes(images[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert np.diff(peaks) / 1500 < 3 * 32 * 32
