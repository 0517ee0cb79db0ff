"""Room for stores: which go, which stay, and when there is none."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from transferkit.store.room import list_stores, make_room
from transferkit.store.rows import RowStore

DIGESTS = [hashlib.sha256(str(number).encode()).digest() for number in range(1000)]


def fill(store: RowStore) -> None:
    with store.writer() as writer:
        writer.append(DIGESTS, np.ones((1000, 15), np.float32))


def make_stores(root: Path, names: str) -> dict[str, RowStore]:
    """Stores of 1,000 rows, last used in the order of their names."""
    stores = {name: RowStore(root, {"backbone": name}, shape=(15,), dtype="float32") for name in names}
    for age, store in enumerate(reversed(stores.values())):
        fill(store)
        used_s = time.time() - 1000 - 100 * age
        os.utime(store.folder / "key.json", (used_s, used_s))
    return stores


def left(stores: dict[str, RowStore]) -> str:
    return "".join(name for name, store in stores.items() if store.folder.exists())


def gb_of(root: Path, num_stores: float) -> float:
    return num_stores * list_stores(root)[0].num_bytes / 1e9


def test_make_room_removes_the_longest_unused_and_no_more_than_needed(tmp_path):
    stores = make_stores(tmp_path, "abcd")

    room = make_room(tmp_path, 1000, max_gb=gb_of(tmp_path, 2.5))

    assert room
    assert left(stores) == "cd"
    assert sorted(path.suffix for path in (tmp_path / "stores").iterdir()) == ["", ""] + [".lock"] * 4


def test_make_room_removes_nothing_while_there_is_room(tmp_path):
    stores = make_stores(tmp_path, "abc")

    assert make_room(tmp_path, 1000, max_gb=1)
    assert left(stores) == "abc"


def test_make_room_spares_the_store_it_is_for(tmp_path):
    stores = make_stores(tmp_path, "abc")

    room = make_room(tmp_path, 1000, max_gb=gb_of(tmp_path, 1.5), keep=stores["a"].folder)

    assert room
    assert left(stores) == "a"


def test_make_room_spares_a_store_that_is_written_to(tmp_path):
    stores = make_stores(tmp_path, "abc")

    with stores["a"].writer():
        used_s = time.time() - 5000
        os.utime(stores["a"].folder / "key.json", (used_s, used_s))
        room = make_room(tmp_path, 1000, max_gb=gb_of(tmp_path, 2.5))

    assert room
    assert left(stores) == "ac"


def test_make_room_removes_nothing_if_that_would_not_do(tmp_path):
    stores = make_stores(tmp_path, "abc")

    assert not make_room(tmp_path, 10**6, max_gb=0.0005)
    assert not make_room(tmp_path, shutil.disk_usage(tmp_path).free, max_gb=1e9)
    assert left(stores) == "abc"


def test_make_room_leaves_some_of_the_disk_to_others(tmp_path):
    disk = shutil.disk_usage(tmp_path)
    margin = min(10**9, disk.total // 20)
    if disk.free < 2 * margin:
        pytest.skip("the disk is nearly full")

    assert make_room(tmp_path, disk.free - 3 * margin // 2, max_gb=1e9)
    assert not make_room(tmp_path, disk.free - margin // 2, max_gb=1e9)


@pytest.mark.parametrize("use", [lambda store: store.read(DIGESTS[:1]), fill])
def test_every_use_of_a_store_counts_as_one(tmp_path, use):
    stores = make_stores(tmp_path, "abc")

    use(stores["a"])
    make_room(tmp_path, 1000, max_gb=gb_of(tmp_path, 2.5))

    assert left(stores) == "ac"


def test_make_room_touches_nothing_but_stores_and_their_remains(tmp_path):
    make_stores(tmp_path, "ab")
    remains = tmp_path / "stores" / f"{'0' * 32}.removed-{'1' * 8}"
    foreign = [tmp_path / "photos", tmp_path / "stores" / "photos", tmp_path / "stores" / "x.removed-me"]
    for folder in (remains, *foreign):
        folder.mkdir()
        (folder / "one.jpg").write_bytes(b"picture")

    make_room(tmp_path, 1, max_gb=1e-8)

    assert list_stores(tmp_path) == []
    assert not remains.exists()
    assert all((folder / "one.jpg").exists() for folder in foreign)
