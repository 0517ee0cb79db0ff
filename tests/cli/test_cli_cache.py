"""`transferkit cache`: what is kept, and removing it."""

import errno
import hashlib
import os
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.cli.cache import show_bytes
from transferkit.data.prepare import picture_store
from transferkit.data.stamps import STAMPS_FILE, Stamps
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import FolderSource
from transferkit.store.rows import RowStore

DIGESTS = [hashlib.sha256(bytes([number])).digest() for number in range(100)]
SPEC = DataSpec(source=FolderSource(path="photos"), image_size=64, resize="pad")


@pytest.fixture
def home(tmp_path):
    """100 pictures, used last, and 40 features."""
    stores = {
        "features": RowStore(
            tmp_path, {"backbone": "resnet50", "cut": 3, "image_size": 224}, shape=(10,), dtype="float32"
        ),
        "pictures": picture_store(tmp_path, SPEC),
    }
    for age, (name, store) in enumerate(reversed(stores.items())):
        num_rows = 100 if name == "pictures" else 40
        with store.writer() as writer:
            writer.append(DIGESTS[:num_rows], np.zeros((num_rows, *store.shape), store.dtype))
        os.utime(store.folder / "key.json", (1_700_000_000 - 1000 * age,) * 2)
    Stamps(tmp_path, "a").record([(bytes(16), bytes(32))])
    return tmp_path


def run(*arguments, home):
    done = CliRunner().invoke(app, ["cache", *arguments, "--folder", str(home)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def kinds(home):
    return re.findall(r"^ *(pictures|features)\b", run("list", home=home), re.MULTILINE)


def test_list_tells_what_is_kept_for_what_and_how_much(home):
    text = run("list", home=home)

    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines() if "px" in line]
    assert [row[:4] for row in rows] == [
        ["features", "resnet50, 224 px, before stage 3", "40", "0.0 MB"],
        ["pictures", "64 px, pad", "100", "1.2 MB"],
    ]
    assert all(row[4].startswith("2023-11-1") for row in rows)
    assert f"1.2 MB in {home}" in text
    assert "at most 20 GB" in text


def test_list_of_an_empty_cache_makes_nothing(tmp_path):
    assert run("list", home=tmp_path / "home").startswith("0.0 MB in")
    assert run("clear", home=tmp_path / "home").startswith("0 removed")
    assert list(tmp_path.iterdir()) == []


def test_list_shows_a_damaged_store(home):
    (picture_store(home, SPEC).folder / "key.json").write_text("{")

    assert "damaged" in run("list", home=home)


def test_list_shows_a_store_of_unknown_age(home):
    (picture_store(home, SPEC).folder / "key.json").unlink()

    row = next(line for line in run("list", home=home).splitlines() if "damaged" in line)

    assert row.split() == ["features", "damaged", "0", "1.2", "MB", "unknown"]


def test_clear_removes_everything_and_tells_how_much(home):
    text = run("clear", home=home)

    assert text == f"2 removed, 1.2 MB freed in {home}\n"
    assert kinds(home) == []
    assert not (home / STAMPS_FILE).exists()


@pytest.mark.parametrize(("kind", "left"), [("pictures", "features"), ("features", "pictures")])
def test_clear_of_one_kind_leaves_the_other(home, kind, left):
    text = run("clear", "--kind", kind, home=home)

    assert text.startswith("1 removed")
    assert kinds(home) == [left]


def test_clear_spares_what_is_written_to(home):
    with picture_store(home, SPEC).writer():
        text = run("clear", home=home)

    assert "1 removed" in text
    assert "1 could not be removed" in text
    assert kinds(home) == ["pictures"]


def test_clear_removes_what_an_earlier_one_left_when_it_was_killed(home):
    store = picture_store(home, SPEC).folder
    remains = store.rename(store.with_name(f"{store.name}.removed-0123abcd"))

    run("clear", home=home)

    assert not remains.exists()


def test_clear_of_a_folder_that_may_not_be_changed_says_so(home, monkeypatch):
    def refuse(path, *others):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    for name in ("rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, refuse)

    text = run("clear", home=home)

    assert "0 removed, 0.0 MB freed" in text
    assert "2 could not be removed: another process writes there, or the folder is read-only" in text
    assert kinds(home) == ["features", "pictures"]


@pytest.fixture
def full_home(home):
    """Beside the stores a file of each further kind, in a folder of its own."""
    for number, kind in enumerate(("lookalikes", "archives", "weights", "tensorflow_datasets"), start=1):
        (home / kind / "inner").mkdir(parents=True)
        (home / kind / "inner" / "file").write_bytes(bytes(number * 10**6))
    return home


def test_list_shows_what_lies_beside_the_stores(full_home):
    text = run("list", home=full_home)

    rows = dict(re.findall(r"^ *(lookalikes|archives|weights|tensorflow_datasets) .* (\S+ MB) *$", text, re.MULTILINE))
    assert rows == {"lookalikes": "1.0 MB", "archives": "2.0 MB", "weights": "3.0 MB", "tensorflow_datasets": "4.0 MB"}
    assert f"11.2 MB in {full_home}" in text


def test_clear_removes_what_was_computed_and_names_the_downloads_that_stay(full_home):
    text = run("clear", home=full_home)

    assert text.startswith("3 removed, 2.2 MB freed")
    assert "weights stay, 3.0 MB of downloads; to remove them, add --kind weights\n" in text
    assert [kind for kind in ("archives", "weights", "tensorflow_datasets") if f"{kind} stay" not in text] == []
    assert not any((full_home / "lookalikes").iterdir())
    assert (full_home / "weights" / "inner" / "file").exists()


def test_clear_of_downloads_leaves_the_rest_and_what_links_lead_to(full_home, tmp_path_factory):
    mine = tmp_path_factory.mktemp("mine")
    (mine / "file").touch()
    (full_home / "archives" / "link").symlink_to(mine, target_is_directory=True)

    text = run("clear", "--kind", "archives", home=full_home)

    assert text == f"1 removed, 2.0 MB freed in {full_home}\n"
    assert not any((full_home / "archives").iterdir())
    assert (mine / "file").exists()
    assert kinds(full_home) == ["features", "pictures"]
    assert (full_home / "lookalikes" / "inner" / "file").exists()
    assert (full_home / STAMPS_FILE).exists()


def test_folder_of_the_environment_is_the_default(home, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_HOME", str(home))

    done = CliRunner().invoke(app, ["cache", "list"])

    assert str(home) in done.output


@pytest.mark.parametrize(("num_bytes", "text"), [(0, "0.0 MB"), (37_249_000, "37.2 MB"), (1_240_000_000, "1.24 GB")])
def test_sizes_are_shown_in_fitting_units(num_bytes, text):
    assert show_bytes(num_bytes) == text
