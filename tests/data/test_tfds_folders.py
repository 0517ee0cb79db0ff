"""Where datasets of TensorFlow Datasets are looked for, and how they get to a machine without network. No network."""

import io
import os
from types import SimpleNamespace

import pytest
from PIL import Image

from transferkit.data import tfds_download, tfds_source
from transferkit.data.folder_source import file_stamp
from transferkit.data.tfds_source import fetch_tfds, is_prepared, list_tfds
from transferkit.errors import DataError
from transferkit.recipe.source import TfdsSource, TfdsSplits

pytestmark = pytest.mark.model

SPEC = TfdsSource(name="cats_vs_dogs")


def draw(index: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (20 * index, 0, 99)).save(file, "JPEG")
    return file.getvalue()


def store(folder, name="cats_vs_dogs", *, version=None, count=4):
    """Prepare a dataset of drawn pictures, in two files."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(),
        "image/filename": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version=version or tfds.builder(name, data_dir=folder).version,
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            "train": [
                (str(index), {"image": io.BytesIO(draw(index)), "image/filename": f"{index}.jpg", "label": index % 2})
                for index in range(count)
            ]
        },
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=2),
    )


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Transferkit's own folder of datasets, and TFDS' own."""
    import tensorflow_datasets as tfds

    monkeypatch.setenv("TRANSFERKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRANSFERKIT_OFFLINE", "1")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "theirs"))
    return tmp_path / "home" / "tensorflow_datasets", tmp_path / "theirs"


@pytest.mark.parametrize("place", [0, 1], ids=["home", "TFDS' own"])
def test_dataset_is_found_where_it_is_prepared(folders, place):
    store(folders[place])

    assert is_prepared(SPEC)
    assert len(list_tfds(SPEC).pictures) == 4


def test_home_goes_before_tfds_own_folder(folders):
    store(folders[0], count=6)
    store(folders[1], count=4)

    assert len(list_tfds(SPEC).pictures) == 6


def test_dataset_that_is_known_by_its_files_alone_is_found(folders):
    store(folders[1], "toy_without_code", version="1.0.0")

    assert len(list_tfds(TfdsSource(name="toy_without_code")).pictures) == 4


def test_named_folder_is_the_only_one(folders, tmp_path):
    store(folders[0])

    assert not is_prepared(SPEC.model_copy(update={"data_dir": str(tmp_path / "elsewhere")}))


def test_offline_run_without_the_data_says_where_it_belongs_and_what_to_do(folders):
    with pytest.raises(DataError) as caught:
        list_tfds(SPEC)

    for words in ("cats_vs_dogs", str(folders[0]), "offline", "transferkit fetch RECIPE", "TRANSFERKIT_HOME"):
        assert words in str(caught.value)
    assert not folders[0].exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cats_vs_dogs", "this run is offline"),
        ("cats_vs_dog", "has no dataset 'cats_vs_dog'; did you mean 'cats_vs_dogs'"),
        ("imdb_reviews", "does not have exactly one picture (Image) and one class label"),
    ],
)
def test_only_our_own_words_are_shown(folders, name, says, capfd, caplog):
    with pytest.raises(DataError) as caught:
        list_tfds(TfdsSource(name=name))

    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) < 5
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == []


@pytest.mark.parametrize("damage", ["no description", "cut file", "lost file"])
def test_a_damaged_folder_is_named_with_what_to_do(folders, damage):
    store(folders[0])
    if damage == "no description":
        next(folders[0].rglob("dataset_info.json")).unlink()
    elif damage == "cut file":
        shard = next(folders[0].rglob("*00000-of-00002"))
        shard.write_bytes(shard.read_bytes()[:300])
    else:
        next(folders[0].rglob("*00000-of-00002")).unlink()

    with pytest.raises(DataError, match="incomplete|truncated record|No such file") as caught:
        list_tfds(SPEC)

    assert str(folders[0] / "cats_vs_dogs") in str(caught.value)
    assert "delete that folder; the next run prepares it anew" in str(caught.value)
    assert "{{" not in str(caught.value)
    assert "[Op" not in str(caught.value)


def test_fetch_copies_what_is_prepared_so_that_one_folder_is_enough(folders, tmp_path, monkeypatch):
    store(folders[1])
    before = list_tfds(SPEC)
    carried = tmp_path / "carried"

    folder = fetch_tfds(SPEC, home=carried)
    folders[1].rename(tmp_path / "gone")
    monkeypatch.setenv("TRANSFERKIT_HOME", str(carried))

    after = list_tfds(SPEC)
    assert folder.is_relative_to(carried / "tensorflow_datasets")
    assert after.pictures == before.pictures
    assert list(after.read(range(4))) == [draw(index) for index in map(index_of, after.read(range(4)))]
    assert sorted(path.name for path in (carried / "tensorflow_datasets").iterdir()) == ["cats_vs_dogs"]


def index_of(picture: bytes) -> int:
    return [draw(index) for index in range(4)].index(picture)


def test_fetch_leaves_what_is_there(folders, tmp_path):
    store(folders[0])
    shard = next(folders[0].rglob("*.tfrecord*"))
    before = file_stamp(shard)

    folder = fetch_tfds(SPEC, home=tmp_path / "home")

    assert folder.is_relative_to(folders[0])
    assert file_stamp(shard) == before


def test_fetch_leaves_data_in_the_folder_that_the_recipe_names(tmp_path):
    store(tmp_path / "named")

    folder = fetch_tfds(SPEC.model_copy(update={"data_dir": str(tmp_path / "named")}), home=tmp_path / "to")

    assert folder.is_relative_to(tmp_path / "named")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("try_gcs", [False, True])
def test_google_s_bucket_is_asked_only_where_the_recipe_says_so(tmp_path, monkeypatch, try_gcs):
    from tensorflow_datasets.core.utils import gcs_utils

    seen = []
    builder = SimpleNamespace(
        data_path=tmp_path / "missing",
        data_dir_root=tmp_path,
        info=SimpleNamespace(full_name="toy/1.0.0"),
        url_infos={},
        MANUAL_DOWNLOAD_INSTRUCTIONS=None,
        download_and_prepare=lambda download_config: seen.append(
            (download_config.try_download_gcs, gcs_utils._is_gcs_disabled)
        ),
    )
    asked = []
    monkeypatch.delenv("TRANSFERKIT_OFFLINE")
    monkeypatch.setattr(tfds_download, "_silent_hosts", lambda urls: asked.extend(urls) or ())

    tfds_download.prepare(builder, try_gcs=try_gcs)

    assert seen == [(try_gcs, not try_gcs)]
    assert asked == ["https://storage.googleapis.com/tfds-data"] * try_gcs
    assert gcs_utils._is_gcs_disabled


def test_read_makes_one_pass_and_stops_after_the_last_chosen_one(folders, monkeypatch):
    store(folders[0], count=8)
    splits = TfdsSplits(train="train[:4]", validation="train[4:6]", test="train[6:]")
    listing = list_tfds(SPEC.model_copy(update={"splits": splits}))
    whole = list(listing.read(range(8)))
    read, parsed = tfds_source._read, []

    def counted(builder, part, *, key):
        for example in read(builder, part, key=key):
            parsed.append(part)
            yield example

    monkeypatch.setattr(tfds_source, "_read", counted)

    chosen = list(listing.read([1, 2, 6]))

    assert chosen == [whole[1], whole[2], whole[6]]
    assert parsed == ["train[:4]"] * 3 + ["train[6:]"]
    assert list(listing.read([])) == []


def test_stamps_change_with_the_file_that_holds_a_picture(folders):
    store(folders[0])
    listing = list_tfds(SPEC)
    before = list(listing.stamps())
    shard = next(folders[0].rglob("*00001-of-00002"))
    in_it = [picture.path.startswith(shard.name) for picture in listing.pictures]

    os.utime(shard, (0, 0))

    assert len(set(before)) == 4
    assert any(in_it)
    assert not all(in_it)
    assert [new != old for new, old in zip(listing.stamps(), before, strict=True)] == in_it
    shard.unlink()
    assert [stamp is None for stamp in listing.stamps()] == in_it
