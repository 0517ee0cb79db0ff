"""Pictures from Python."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from transferkit.data.arrays_source import list_arrays, split_off_arrays, take_arrays
from transferkit.data.decode import decode_picture
from transferkit.data.source import list_source
from transferkit.errors import DataError, PictureError
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import ArraysSource


def draw(count=6, shape=(8, 8, 3), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def list_given(given, *, class_names=None, multi_label=False):
    arrays = take_arrays(given, class_names=class_names)
    return list_arrays(ArraysSource(digest=arrays.digest), arrays, multi_label=multi_label)


def decode(listing) -> list[np.ndarray]:
    read = listing.read(range(len(listing.pictures)))
    return [decode_picture(one, size_px=8, resize="stretch") for one in read]


def classes_of(listing) -> list[tuple[str, ...]]:
    return [tuple(listing.class_names[label] for label in one.labels) for one in listing.pictures]


def reasons_of(listing) -> dict[str, str]:
    return {one.path: one.reason for one in listing.skipped}


class Batches:
    """What of a Keras PyDataset is used; it fills the same memory again for every batch."""

    num_batches = 3

    def __init__(self, images, labels):
        self.images, self.labels, self.memory = images, labels, np.zeros_like(images[:2])

    def __getitem__(self, number):
        self.memory[:] = self.images[2 * number : 2 * number + 2]
        return self.memory, self.labels[2 * number : 2 * number + 2]


class Stream:
    """What of a `tf.data.Dataset` is used."""

    def __init__(self, elements, cardinality=-2):
        self.elements, self.size = elements, cardinality

    def as_numpy_iterator(self):
        return iter(self.elements)

    def cardinality(self):
        return np.int64(self.size)


LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    "give",
    [
        lambda images, labels: (images, labels),
        lambda images, labels: [list(images), list(labels)],
        lambda images, labels: (images.astype(np.float32), labels.astype(np.float32)),
        lambda images, labels: (images.astype(np.int64), labels[:, None]),
        lambda images, labels: (np.asfortranarray(images), labels),
        lambda images, labels: Batches(images, labels),
        lambda images, labels: Stream([(images[:4], labels[:4]), (images[4:], labels[4:])]),
        lambda images, labels: Stream(list(zip(images, labels, strict=True))),
        lambda images, labels: Stream([(image, np.eye(3)[label]) for image, label in zip(images, labels, strict=True)]),
    ],
    ids=["arrays", "lists", "floats", "column", "Fortran", "PyDataset", "batches", "one by one", "one-hot one by one"],
)
def test_every_form_gives_the_same_pictures_bit_for_bit(give):
    images = draw()

    listing = list_given(give(images, LABELS))

    assert listing.class_names == ("0", "1", "2")
    assert [(one.path, one.label, one.weight) for one in listing.pictures] == [
        (str(row), label, 1.0) for row, label in enumerate(LABELS)
    ]
    np.testing.assert_array_equal(decode(listing), images)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1)])
def test_grey_pictures_become_grey_colours(shape):
    images = draw(shape=shape)

    decoded = decode(list_given((images, LABELS)))

    np.testing.assert_array_equal(decoded, np.repeat(images.reshape(6, 8, 8, 1), 3, axis=3))


def test_transparent_pixels_become_white_as_in_files():
    images = draw(shape=(8, 8, 4))
    images[..., 3] = 255
    images[:, 0, :, 3] = 0

    decoded = np.array(decode(list_given((images, LABELS))))

    assert (decoded[:, 0] == 255).all()
    np.testing.assert_array_equal(decoded[:, 1:], images[:, 1:, :, :3])


def test_pictures_may_have_different_sizes():
    images = [draw(1, (8 + row, 20, 3))[0] for row in range(4)]

    assert len(decode(list_given((images, [0, 1, 0, 1])))) == 4


def test_fractions_are_rounded():
    images = np.full((2, 8, 8, 3), 99.6, np.float32)

    assert (np.array(decode(list_given((images, [0, 1])))) == 100).all()


@pytest.mark.parametrize("mode", ["P", "1", "LA", "CMYK", "RGBA"])
def test_pictures_of_pillow_are_what_they_show_whatever_they_hold(mode):
    shown = Image.new("RGB", (8, 8), "white")

    decoded = decode(list_given(([shown, shown.convert(mode)], [0, 1])))

    assert (np.array(decoded) == 255).all()


def test_pictures_of_pillow_are_turned_and_read_like_their_files(tmp_path):
    turned, files = Image.Exif(), [tmp_path / "turned.jpg", tmp_path / "cut.jpg"]
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(draw(1, (8, 16, 3))[0]).save(files[0], exif=turned)
    Image.fromarray(draw(1, (80, 80, 3))[0]).save(files[1])
    files[1].write_bytes(files[1].read_bytes()[:2000])

    first, second = list_given(([Image.open(file) for file in files], [0, 1])).read(range(2))

    expected = decode_picture(files[0].read_bytes(), size_px=8, resize="stretch")
    np.testing.assert_array_equal(decode_picture(first, size_px=8, resize="stretch"), expected)
    assert "cannot be read: image file is truncated" in str(second)


def twelve_bit_tiff():
    """A TIFF of a kind that Pillow reads but does not write: 8 x 8 pixels, the left half white, the right one grey."""
    pixels = (b"\xff" * 6 + b"\x55" * 6) * 8
    tags = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 200), (279, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(200, b"\0") + pixels


def turned_16_bits(file_format):
    file, turned = io.BytesIO(), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.arange(20_000, 20_128, dtype=np.uint16).reshape(8, 16) * 3).save(file, file_format, exif=turned)
    return file.getvalue()


@pytest.mark.parametrize(
    "encoded",
    [
        b"P5 8 8 65535\n" + np.arange(20_000, 26_400, 100, np.uint16).astype(">u2").tobytes(),
        twelve_bit_tiff(),
        turned_16_bits("TIFF"),
        turned_16_bits("PNG"),
    ],
    ids=["PGM", "12-bit TIFF", "turned TIFF", "turned PNG"],
)
def test_deep_pictures_of_pillow_are_as_bright_as_their_files(encoded):
    expected = decode_picture(encoded, size_px=8, resize="stretch")

    (pixels,) = decode(list_given(([Image.open(io.BytesIO(encoded))], [0])))

    np.testing.assert_array_equal(pixels, expected)
    assert np.ptp(pixels) > 0


def test_arrays_of_bytes_are_not_copied():
    images = draw()

    arrays = take_arrays((images, LABELS))

    assert all(np.shares_memory(picture, images) for picture in arrays.pictures)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (draw() / 255, "Multiply by 255"),
        (draw() > 128, "Multiply by 255"),
        (draw() / 127.5 - 1, "before any normalisation"),
        (draw().astype(np.uint16) * 257, "before any normalisation"),
        (draw(shape=(3, 8, 8)), r"shape \(3, 8, 8\)"),
        (draw(shape=(8, 8, 5)), r"shape \(8, 8, 5\)"),
        (draw(shape=(0, 8, 3)), r"shape \(0, 8, 3\)"),
        (draw().astype(complex), "of complex128"),
        (np.array(["a.jpg"] * 6), "Files come by a folder or a table"),
        ([Path("a.jpg")] * 6, "is 'a.jpg', which is not its pixels"),
    ],
)
def test_pictures_in_another_form_are_refused_with_advice(images, says):
    with pytest.raises(DataError, match=says):
        take_arrays((images, LABELS))


def test_black_pictures_of_bytes_are_no_fractions():
    assert len(take_arrays((np.zeros((6, 8, 8, 3), np.uint8), LABELS)).pictures) == 6


def test_a_picture_with_values_that_are_no_numbers_is_left_out_with_the_reason():
    images = draw().astype(np.float32)
    images[2, 0, 0, 0] = np.nan

    read = list(list_given((images, LABELS)).read(range(6)))

    assert [isinstance(one, PictureError) for one in read] == [False, False, True, False, False, False]
    assert str(read[2]) == "holds values that are no numbers"


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([10, 9, 10], None, ("9", "10")),
        ([1, 0, 1], ["cat", "dog"], ("cat", "dog")),
        (["dog", "cat", "dog"], None, ("cat", "dog")),
        (np.array(["dog", "cat", "dog"]), ["dog", "cat"], ("dog", "cat")),
        ([b"dog", b"cat", b"dog"], None, ("cat", "dog")),
        (np.array(["dog", "cat", "dog"], object), None, ("cat", "dog")),
        (np.eye(2)[[1, 0, 1]], ["cat", "dog"], ("cat", "dog")),
        ([True, False, True], None, ("0", "1")),
        ([["dog"], ["cat"], ["dog"]], None, ("cat", "dog")),
    ],
)
def test_labels_are_numbers_names_or_one_hot_rows(labels, names, classes):
    listing = list_given((draw(3), labels), class_names=names)

    assert listing.class_names == classes
    first, second, third = (one.label for one in listing.pictures)
    assert first == third != second


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]]), ["a", "b", "c"]),
        (np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], np.float32), ["a", "b", "c"]),
        ([["c", "a"], [], ["b"]], None),
        ([("a", "c"), (), ("b",)], ["a", "b", "c"]),
    ],
)
def test_a_picture_may_have_several_classes_or_none(labels, names):
    listing = list_given((draw(3), labels), class_names=names, multi_label=True)

    assert [one.label for one in listing.pictures] == [(0, 2), (), (1,)]


def test_several_classes_where_one_is_meant_name_the_loss_that_takes_them():
    with pytest.raises(DataError, match="loss: binary_cross_entropy"):
        list_given((draw(2), np.array([[1, 1], [0, 1]])))


def test_labels_that_are_no_class_are_left_out_with_the_reason():
    listing = list_given((draw(6), [0, 1, 2, -1, float("nan"), 1.5]), class_names=["a", "b"])

    assert [one.path for one in listing.pictures] == ["0", "1"]
    assert reasons_of(listing) == {
        "2": "label 2 is no class's number",
        "3": "label -1 is no class's number",
        "4": "label nan is no class's number",
        "5": "label 1.5 is no class's number",
    }


def test_rows_and_names_that_are_no_class_are_left_out_with_the_reason():
    soft = list_given((draw(3), [[0.9, 0.1], [0, 0], [0, 1]]))
    named = list_given((draw(3), ["a", "", "c"]), class_names=["a", "b"])

    assert reasons_of(soft) == {"0": "its label is a row with other numbers than 0 and 1", "1": "has no class"}
    assert reasons_of(named) == {"1": "its label is empty", "2": "label 'c' is not in class_names"}


def test_weights_come_with_the_pictures():
    listing = list_given((draw(4), [0, 1, 0, 1], np.array([0.5, 2, -1, np.inf])))

    assert [one.weight for one in listing.pictures] == [0.5, 2.0]
    assert reasons_of(listing) == {
        "2": "weight -1 is no number from 0 on",
        "3": "weight inf is no number from 0 on",
    }


def test_names_lead_zeros_so_that_they_sort():
    assert [one.path for one in list_given((draw(11), [0, 1] * 5 + [0])).pictures][::10] == ["00", "10"]


@pytest.mark.parametrize(
    ("given", "names", "says"),
    [
        ((draw(3), [0, 1]), None, "differ in number: 3, 2"),
        ((draw(2), [0, 1], [1.0]), None, "differ in number: 2, 2, 1"),
        ((draw(2),), None, "must be pairs"),
        ((draw(2), 3), None, "as many images as labels"),
        ((draw(0), []), None, "no picture at all"),
        ((draw(2), [0, None]), None, "label None from Python"),
        ((draw(2), [0, 1], ["a", "b"]), None, "weight 'a' from Python is no number"),
        ((draw(2), [0, 1]), ["a", "a"], "class_names has a name twice"),
        (Stream([draw(2)]), None, "must be pairs"),
        (Stream([], cardinality=-1), None, "repeats for ever"),
        (3, None, "cannot take a int as data"),
    ],
)
def test_what_is_no_set_of_labelled_pictures_is_refused(given, names, says):
    with pytest.raises(DataError, match=says):
        take_arrays(given, class_names=names)


def test_rows_of_another_width_than_the_names_are_refused():
    with pytest.raises(DataError, match="2 columns, but there are 3 class_names"):
        list_given((draw(2), np.eye(2)), class_names=["a", "b", "c"])


def test_a_dataset_without_end_is_refused():
    endless = Batches(draw(), LABELS)
    endless.num_batches = None

    with pytest.raises(DataError, match="no end"):
        take_arrays(endless)


def test_class_names_of_a_keras_dataset_are_used():
    stream = Stream([(draw(2), np.array([0, 1]))])
    stream.class_names = ["cat", "dog"]

    assert list_given(stream).class_names == ("cat", "dog")


def test_the_digest_tells_pictures_labels_weights_and_names_apart():
    images, labels = draw(), LABELS
    forms = [
        take_arrays((images, labels)),
        take_arrays((images + np.uint8(1), labels)),
        take_arrays((images.reshape(6, 4, 16, 3), labels)),
        take_arrays((images, labels[::-1])),
        take_arrays((images, labels, [1, 1, 1, 1, 1, 2])),
        take_arrays((images, labels), class_names=["a", "b", "c"]),
    ]

    assert len({arrays.digest for arrays in forms}) == len(forms)
    assert take_arrays((images.copy(), list(labels))).digest == forms[0].digest


@pytest.mark.parametrize("data", ["photos", {"source": {"folder": "photos"}}])
def test_other_data_is_a_recipe_s_section(data):
    assert split_off_arrays(data) == ({"source": {"folder": "photos"}}, None)
    assert split_off_arrays(data, ["b", "a"])[0]["class_names"] == ["b", "a"]


def test_pictures_may_stand_in_a_section_among_other_keys():
    given = (draw(), LABELS)

    plain, arrays = split_off_arrays(given, "abc")
    among, again = split_off_arrays({"source": {"arrays": given}, "image_size": 64, "class_names": ["a", "b", "c"]})

    assert plain == {"source": {"arrays": arrays.digest}}
    assert among == {"source": {"arrays": arrays.digest}, "image_size": 64}
    assert arrays.class_names == again.class_names == ("a", "b", "c")


def test_a_recipe_of_pictures_from_python_says_where_they_are_missing():
    spec = DataSpec(source=ArraysSource(digest="a" * 64))

    with pytest.raises(DataError, match="they are in no file"):
        list_source(spec)
    with pytest.raises(DataError, match="other pictures or labels were given"):
        list_source(spec, arrays=take_arrays((draw(), LABELS)))


def test_classes_of_arrays_can_be_chosen_like_others_and_keep_their_order():
    arrays = take_arrays((draw(), LABELS), class_names=["zebra", "cat", "dog"])
    spec = DataSpec(source=ArraysSource(digest=arrays.digest), rename={"cat": "tiger"}, keep_classes=("cat", "zebra"))

    listing = list_source(spec, arrays=arrays)

    assert classes_of(listing) == [("zebra",), ("tiger",), ("zebra",), ("tiger",)]
    assert listing.class_names == ("zebra", "tiger")
