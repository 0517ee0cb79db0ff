"""Small datasets in TFDS' own files, under the names of real ones, read by the real builders. No network."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from transferkit.data.tfds_source import list_tfds
from transferkit.errors import DataError
from transferkit.recipe.source import TfdsSource, TfdsSplits

pytestmark = pytest.mark.model

FLOWERS = ("dandelion", "daisy", "tulips", "sunflowers", "roses")  # the builder's order, not the alphabet's
COUNTS = {"tf_flowers": {"train": 40}, "oxford_iiit_pet": {"train": 8, "test": 6}, "cats_vs_dogs": {"train": 6}}


def draw(index: int) -> bytes:
    """An encoded picture that no other index has."""
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (6 * index, 255 - 6 * index, 99)).save(file, "JPEG")
    return file.getvalue()


def flower(index: int) -> dict:
    return {"image": io.BytesIO(draw(index)), "label": index % 5}


def pet(index: int) -> dict:
    import tensorflow_datasets as tfds

    return {
        "image": io.BytesIO(draw(index)),
        "label": index % 37,
        "species": index % 2,
        "file_name": f"{index}.jpg",
        "segmentation_mask": np.zeros((8, 12, 1), np.uint8),
        "head_bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
    }


def cat_or_dog(index: int) -> dict:
    return {"image": io.BytesIO(draw(index)), "image/filename": f"{index}.jpg", "label": index % 2}


def cat_or_dog_alone(index: int) -> dict:
    return {"image": io.BytesIO(draw(index)), "label": index % 2}


def store(data_dir, name, counts, example, *, version="1.0.0", features=None):
    """Prepare a dataset of drawn pictures, two files per split; indices count through all its splits."""
    import tensorflow_datasets as tfds

    indices = iter(range(sum(counts.values())))
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            split: [(f"{split}{place}", example(next(indices))) for place in range(count)]
            for split, count in counts.items()
        },
        data_dir=data_dir,
        download_config=tfds.download.DownloadConfig(num_shards=2),
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    for (name, counts), example in zip(COUNTS.items(), (flower, pet, cat_or_dog), strict=True):
        builder = tfds.builder(name, data_dir=folder)
        store(folder, name, counts, example, version=builder.version, features=dict(builder.info.features.items()))
    return str(folder)


@pytest.fixture
def image_and_label():
    import tensorflow_datasets as tfds

    return {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["b", "a"])}


@pytest.mark.parametrize("name", COUNTS)
def test_listing_without_splits_takes_the_dataset_s_own(data_dir, name):
    listing = list_tfds(TfdsSource(name=name, data_dir=data_dir))

    assert Counter(picture.split for picture in listing.pictures) == COUNTS[name]


def test_class_names_keep_the_builder_s_order(data_dir):
    listing = list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir))

    assert listing.class_names == FLOWERS


def test_paths_are_the_example_ids_in_the_order_of_the_files(data_dir):
    listing = list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir))

    assert [picture.path for picture in listing.pictures] == [
        f"tf_flowers-train.tfrecord-0000{shard}-of-00002__{place}" for shard in range(2) for place in range(20)
    ]


def test_listing_is_the_same_every_time(data_dir):
    spec = TfdsSource(name="oxford_iiit_pet", data_dir=data_dir)

    first, second = list_tfds(spec), list_tfds(spec)

    assert first.pictures == second.pictures
    assert (
        list(first.read(range(len(first.pictures))))
        == list(second.read(range(len(second.pictures))))
        == list(first.read(range(len(first.pictures))))
    )


def test_example_keeps_its_path_when_only_a_part_is_read(data_dir):
    whole = list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir))
    part = list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir, splits=TfdsSplits(train="train[70%:]")))

    assert part.pictures == whole.pictures[28:]
    assert list(part.read(range(len(part.pictures)))) == list(whole.read(range(len(whole.pictures))))[28:]


def test_data_dir_may_start_at_the_home_folder(data_dir, monkeypatch):
    monkeypatch.setenv("HOME", data_dir)
    monkeypatch.setenv("USERPROFILE", data_dir)

    listing = list_tfds(TfdsSource(name="tf_flowers", data_dir="~"))

    assert listing.count("train") == 40


@pytest.mark.parametrize("name", COUNTS)
def test_read_gives_each_picture_s_own_bytes_untouched(data_dir, name):
    index_of = {draw(index): index for index in range(sum(COUNTS[name].values()))}
    listing = list_tfds(TfdsSource(name=name, data_dir=data_dir))

    indices = [index_of[encoded] for encoded in listing.read(range(len(listing.pictures)))]

    assert sorted(indices) == sorted(index_of.values())
    for index, picture in zip(indices, listing.pictures, strict=True):
        assert picture.label == index % len(listing.class_names)
        assert (picture.split == "train") == (index < COUNTS[name]["train"])


def test_pictures_are_those_that_tfds_decodes_under_the_same_id(data_dir):
    import tensorflow_datasets as tfds

    builder = tfds.builder("oxford_iiit_pet", data_dir=data_dir)
    examples = builder.as_dataset(split="train+test", read_config=tfds.ReadConfig(add_tfds_id=True))
    expected = {example["tfds_id"].decode(): example for example in tfds.as_numpy(examples)}

    listing = list_tfds(TfdsSource(name="oxford_iiit_pet", data_dir=data_dir))

    assert {picture.path for picture in listing.pictures} == set(expected)
    for picture, encoded in zip(listing.pictures, listing.read(range(len(listing.pictures))), strict=True):
        assert picture.label == expected[picture.path]["label"]
        pixels = np.asarray(Image.open(io.BytesIO(encoded)), dtype=int)
        # Two JPEG decoders may round colours differently, by 3 of 255 at most; drawings differ by 6 or more.
        assert np.abs(pixels - expected[picture.path]["image"]).max() <= 3


def test_splits_follow_the_given_expressions(data_dir):
    splits = TfdsSplits(train="train[:75%]", validation="train[75%:]", test="test[:1]")

    listing = list_tfds(TfdsSource(name="oxford_iiit_pet", data_dir=data_dir, splits=splits))

    assert Counter(picture.split for picture in listing.pictures) == {"train": 6, "validation": 2, "test": 1}


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        (TfdsSplits(train="train[:60%]", validation="train[50%:]"), ("train[:60%]", "train[50%:]", "share 4\n")),
        (TfdsSplits(train="train", validation="train[:3]", test="train[3:]"), ("validation", "share 3", "share 37")),
        (TfdsSplits(train="train+train[:4]"), ("4 are twice in one split",)),
    ],
    ids=["two splits", "three splits", "one split"],
)
def test_shared_pictures_are_refused_and_counted(data_dir, splits, words):
    with pytest.raises(DataError) as raised:
        list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir, splits=splits))

    assert all(word in str(raised.value) for word in words)


@pytest.mark.parametrize("part", ["trian", "train[", "train[50:]", "train[:0%]"])
def test_wrong_split_expression_is_refused(data_dir, part):
    with pytest.raises(DataError) as raised:
        list_tfds(TfdsSource(name="tf_flowers", data_dir=data_dir, splits=TfdsSplits(train=part)))

    assert repr(part) in str(raised.value)


def test_dataset_without_train_split_is_refused_with_what_it_has(tmp_path, image_and_label):
    store(tmp_path, "toy_tests", {"test": 2, "extra": 2}, cat_or_dog_alone, features=image_and_label)

    with pytest.raises(DataError, match="no split 'train'; it has: test, extra"):
        list_tfds(TfdsSource(name="toy_tests", data_dir=str(tmp_path)))


def test_only_picture_and_label_are_found_without_supervised_keys(tmp_path):
    import tensorflow_datasets as tfds

    features = {
        "kind": tfds.features.ClassLabel(names=["b", "a"]),
        "photo": tfds.features.Image(),
        "size": tfds.features.Scalar(np.int64),
    }
    store(
        tmp_path,
        "toy_names",
        {"train": 4},
        lambda index: {"kind": 1, "photo": io.BytesIO(draw(index)), "size": index},
        features=features,
    )

    listing = list_tfds(TfdsSource(name="toy_names", data_dir=str(tmp_path)))

    assert listing.class_names == ("b", "a")
    assert {picture.label for picture in listing.pictures} == {1}
    assert set(listing.read(range(len(listing.pictures)))) == {draw(index) for index in range(4)}


@pytest.mark.parametrize(("name", "has"), [("imdb_reviews", "text (Text)"), ("voc", "labels (Sequence)")])
def test_dataset_without_one_picture_and_one_label_is_refused_before_a_download(tmp_path, name, has):
    with pytest.raises(DataError) as raised:
        list_tfds(TfdsSource(name=name, data_dir=str(tmp_path)))

    assert "exactly one picture" in str(raised.value)
    assert has in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_secret_labels_are_refused_and_counted(tmp_path, image_and_label):
    store(
        tmp_path,
        "toy_contest",
        {"train": 4, "test": 3},
        lambda index: {"image": io.BytesIO(draw(index)), "label": 0 if index < 4 else -1},
        features=image_and_label,
    )

    with pytest.raises(DataError, match="without a label: 3 in test"):
        list_tfds(TfdsSource(name="toy_contest", data_dir=str(tmp_path)))


def test_unknown_name_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(DataError, match="no dataset 'tf_flower'; did you mean 'tf_flowers'"):
        list_tfds(TfdsSource(name="tf_flower", data_dir=str(tmp_path)))


@pytest.mark.parametrize("name", ["tf_flowers:9.9.9", "tf_flowers/nope", "../tf_flowers", "nowhere:tf_flowers"])
def test_unknown_version_config_or_namespace_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="TensorFlow Datasets") as raised:
        list_tfds(TfdsSource(name=name, data_dir=str(tmp_path)))

    assert name in str(raised.value)


def test_damaged_file_is_refused_with_its_folder(tmp_path, image_and_label):
    store(tmp_path, "toy_damage", {"train": 4}, cat_or_dog_alone, features=image_and_label)
    folder = tmp_path / "toy_damage" / "1.0.0"
    shard = next(folder.glob("*00000-of-00002"))
    shard.write_bytes(shard.read_bytes()[:-20])

    with pytest.raises(DataError, match="damaged") as raised:
        list_tfds(TfdsSource(name="toy_damage", data_dir=str(tmp_path)))

    assert str(folder) in str(raised.value)
