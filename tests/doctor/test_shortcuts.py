"""A property that alone predicts the class is told; chance is not."""

from datetime import datetime, timedelta
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferkit.data.listing import Listing, Picture
from transferkit.doctor.scan import scan_pictures
from transferkit.doctor.shortcuts import find_shortcuts, predict_by_column
from transferkit.progress import Quiet

NAMES = [f"class {label}" for label in range(300)]


def predicted(labels, **columns):
    return predict_by_column(columns, np.asarray(labels), NAMES)


def random_labels(counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_a_column_that_names_the_class_is_found_before_a_weaker_one_and_noise_is_not():
    labels = random_labels([50, 50])
    draw = np.random.default_rng(0)
    weaker = np.where(draw.random(100) < 0.85, labels, 1 - labels)

    found = predicted(labels, weaker=weaker, noise=draw.random(100), width=np.where(labels, 640, 1024))

    assert [one.column for one in found] == ["width", "weaker"]
    assert found[0].score == 1
    assert found[0].chance == 0.5
    assert found[0].classes == (0, 1)
    assert found[0].sentence == (
        "By its width alone the class of a picture can be told: 100% balanced accuracy, where guessing reaches 50%."
    )


def test_one_class_among_many_from_another_source_is_named():
    labels = random_labels([30] * 10)
    camera = np.where(labels == 7, "Canon", "Nikon").astype(object)

    (found,) = predicted(labels, camera=camera)

    assert found.classes == (7,)
    assert found.sentence.startswith("By its camera alone a picture of class 7 can be told from all others (")


def test_what_lies_between_others_is_found():
    labels = random_labels([40, 40])
    draw = np.random.default_rng(0)
    outside = np.where(draw.random(80) < 0.5, draw.uniform(0, 10, 80), draw.uniform(20, 30, 80))

    (found,) = predicted(labels, size=np.where(labels == 0, draw.uniform(11, 19, 80), outside))

    assert found.score > 0.9


def test_a_value_that_is_missing_in_one_class_alone_is_found():
    labels = random_labels([40, 40])
    taken = np.where(labels == 0, np.random.default_rng(0).random(80), np.nan)

    assert predicted(labels, taken=taken)[0].score == 1


def test_minutes_are_told_apart_in_a_century():
    labels = random_labels([40, 40])
    start = datetime(2024, 5, 1).toordinal()

    (found,) = predicted(labels, taken=start + labels / (24 * 60) + np.arange(80) / 1e6)

    assert found.score > 0.95


def test_columns_without_two_values_are_passed_over():
    labels = random_labels([40, 40])

    columns = {"number": np.ones(80), "missing": np.full(80, np.nan), "name": np.full(80, "x", object)}

    assert predicted(labels, **columns) == ()


@pytest.mark.parametrize("counts", [[], [9], [1, 1, 1], [1, 30]], ids=str)
def test_nothing_is_said_without_two_classes_of_two(counts):
    labels = random_labels(counts)

    assert predict_by_column({"width": labels}, labels, NAMES) == ()


@pytest.mark.parametrize(
    ("counts", "num_draws"),
    [([10, 10], 40), ([50, 50], 25), ([200, 20, 5], 20), ([40] * 10, 10), ([3] * 100, 5)],
    ids=["two small", "two", "uneven", "ten", "a hundred of three"],
)
def test_chance_is_hardly_ever_taken_for_a_shortcut(counts, num_draws):
    labels, alarms = random_labels(counts), 0
    for seed in range(num_draws):
        draw = np.random.default_rng(seed)
        columns = {
            "number": draw.random(len(labels)),
            "few numbers": draw.integers(0, 4, len(labels)),
            "names": draw.integers(0, 30, len(labels)).astype(str).astype(object),
            "missing": np.where(draw.random(len(labels)) < 0.5, np.nan, draw.random(len(labels))),
        }
        alarms += len(predicted(labels, **columns))

    assert alarms == 0


def listing_of(files, labels):
    pictures = tuple(Picture(f"{row}.jpg", label) for row, label in enumerate(labels))
    return Listing(("cat", "dog"), pictures, read=lambda chosen: (files[row] for row in chosen))


def photo(number, *, size=(60, 40), taken=None, camera=""):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    exif = Image.Exif()
    if taken:
        exif[0x0132] = taken.strftime("%Y:%m:%d %H:%M:%S")
    if camera:
        exif[0x0110] = camera
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", exif=exif)
    return file.getvalue()


def findings_in(files, labels):
    listing = listing_of(files, labels)
    return list(find_shortcuts(scan_pictures(listing, max_megapixels=100, progress=Quiet()), listing))


def test_classes_that_were_taken_on_two_days_with_two_cameras_are_a_finding():
    labels = [number % 2 for number in range(60)]
    start = datetime(2024, 5, 1, 12)
    files = [
        photo(row, taken=start + timedelta(days=label, minutes=7 * row), camera=f"model {label}")
        for row, label in enumerate(labels)
    ]

    (finding,) = findings_in(files, labels)

    assert (finding.kind, finding.severity) == ("shortcuts", "warning")
    assert {"time taken", "camera"} <= {row[0] for row in finding.table[1:]}
    assert "width" not in {row[0] for row in finding.table[1:]}
    assert all(len(row) == len(finding.table[0]) for row in finding.table)
    assert finding.num == len(finding.table) - 1


def test_shapes_may_be_of_the_classes_nature_and_are_a_note():
    draw = np.random.default_rng(0)
    labels = [number % 2 for number in range(80)]
    lengths = draw.integers(40, 90, 80)
    files = [
        photo(row, size=(length * 2, length) if label else (length, length * 2))
        for row, (label, length) in enumerate(zip(labels, lengths.tolist(), strict=True))
    ]

    (finding,) = findings_in(files, labels)

    assert "shape (width / height)" in {row[0] for row in finding.table}
    assert finding.severity == ("note" if finding.num == 1 else "warning")


def test_files_that_cannot_be_read_and_several_classes_are_no_finding():
    assert findings_in([photo(row) for row in range(20)] + [b""] * 20, [0] * 20 + [1] * 20) == []
    assert findings_in([photo(row) for row in range(4)], [(0,), (1,), (0, 1), ()]) == []
