"""The store of rows on disk, in one process: what it keeps, where, and from when on."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from transferkit.errors import CacheError
from transferkit.store import writer as store_writer
from transferkit.store.room import list_stores
from transferkit.store.rows import RowStore, cache_root

SHAPE = (3, 5)
ENTRY_BYTES = 36


def open_store(root: Path, name: str = "a", **changes) -> RowStore:
    return RowStore(root, {"backbone": name}, **{"shape": SHAPE, "dtype": "float32", **changes})


def digest_of(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def digests_of(numbers) -> list[bytes]:
    return [digest_of(number) for number in numbers]


def rows_of(numbers) -> np.ndarray:
    """Rows that tell their number in every value."""
    numbers = np.array(list(numbers), np.float32).reshape(-1, 1, 1)
    return numbers * 100 + np.arange(15, dtype=np.float32).reshape(1, *SHAPE)


def fill(store: RowStore, numbers) -> None:
    with store.writer() as writer:
        writer.append(digests_of(numbers), rows_of(numbers))


def assert_holds(store: RowStore, numbers) -> None:
    stored = store.read(digests_of(numbers))
    np.testing.assert_array_equal(stored[np.arange(len(stored))], rows_of(numbers))


def num_found(store: RowStore, numbers) -> int:
    return int((store.find(digests_of(numbers)) >= 0).sum())


# What is kept


def test_stored_rows_come_back_in_any_order_and_number(tmp_path):
    fill(open_store(tmp_path), range(50))
    wanted = [7, 49, 0, 7, 12]

    stored = open_store(tmp_path).read(digests_of(wanted))

    assert (len(stored), stored.shape, stored.dtype) == (5, (5, *SHAPE), np.float32)
    np.testing.assert_array_equal(stored[np.array([4, 0, 0, -1])], rows_of([12, 7, 7, 12]))
    np.testing.assert_array_equal(stored[1:3], rows_of([49, 0]))


def test_find_tells_positions_and_what_is_missing(tmp_path):
    fill(open_store(tmp_path), range(10))

    positions = open_store(tmp_path).find(digests_of([3, 99, 0]))

    assert positions.dtype == np.int64
    assert positions.tolist() == [3, -1, 0]


def test_store_without_a_folder_is_empty_and_makes_none(tmp_path):
    store = open_store(tmp_path)

    assert store.find(digests_of(range(3))).tolist() == [-1, -1, -1]
    assert store.read([]).shape == (0, *SHAPE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(), (2048,), (7, 7, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_store_keeps_any_shape_and_precision(tmp_path, shape, dtype):
    rows = np.random.default_rng(0).standard_normal((4, *shape)).astype(dtype)

    with open_store(tmp_path, shape=shape, dtype=dtype).writer() as writer:
        writer.append(digests_of(range(4)), rows)

    stored = open_store(tmp_path, shape=shape, dtype=dtype).read(digests_of(range(4)))
    assert stored.dtype == dtype
    np.testing.assert_array_equal(stored[:], rows)


def test_rows_that_are_not_contiguous_are_kept_as_they_read(tmp_path):
    with open_store(tmp_path).writer() as writer:
        writer.append(digests_of([8, 6, 4]), rows_of(range(10))[8:2:-2])

    assert_holds(open_store(tmp_path), [4, 6, 8])


def test_digest_that_ends_in_zeros_is_found_and_taken_for_no_other(tmp_path):
    zeros, short, other = bytes(32), b"a" + bytes(31), b"a" + bytes(30) + b"b"
    store = open_store(tmp_path)

    with store.writer() as writer:
        writer.append([short, zeros], rows_of([0, 1]))

    assert store.find([zeros, short, other]).tolist() == [1, 0, -1]


def test_second_writer_adds_to_what_is_there(tmp_path):
    store = open_store(tmp_path)
    fill(store, range(10))

    fill(store, range(10, 25))

    assert_holds(store, range(25))


def test_digest_appended_twice_counts_once(tmp_path):
    store = open_store(tmp_path)
    fill(store, [0, 1])

    with store.writer() as writer:
        writer.append(digests_of([2, 2, 1]), np.concatenate([rows_of([2]), rows_of([50, 51])]))
        writer.append(digests_of([0, 2, 3]), np.concatenate([rows_of([52, 53]), rows_of([3])]))

    assert (store.folder / "index.bin").stat().st_size == 64 + 4 * ENTRY_BYTES
    assert (store.folder / "rows.bin").stat().st_size == 64 + 4 * store.row_bytes
    assert_holds(store, range(4))


@pytest.mark.parametrize(
    ("digests", "rows"),
    [
        (digests_of([0]), rows_of([0, 1])),
        (digests_of([0]), rows_of([0]).astype(np.float64)),
        (digests_of([0]), rows_of([0])[:, :2]),
        ([b"short"], rows_of([0])),
    ],
    ids=["number", "dtype", "shape", "digest"],
)
def test_rows_of_another_kind_are_refused(tmp_path, digests, rows):
    with open_store(tmp_path).writer() as writer, pytest.raises(ValueError, match="rows are|32 bytes"):
        writer.append(digests, rows)

    assert num_found(open_store(tmp_path), [0, 1]) == 0


def test_read_of_missing_rows_says_how_many_and_what_to_do(tmp_path):
    fill(open_store(tmp_path), range(3))

    with pytest.raises(CacheError, match=r"(?s)2 of 4 stored rows are missing.*cache\.max_gb"):
        open_store(tmp_path).read(digests_of([0, 1, 8, 9]))


def test_disk_bytes_are_what_the_files_grow_by(tmp_path):
    store = open_store(tmp_path)
    fill(store, [])
    before = list_stores(tmp_path)[0].num_bytes

    fill(store, range(20))

    assert list_stores(tmp_path)[0].num_bytes - before == store.disk_bytes(20)


# Where it lies


def test_store_has_a_folder_for_each_key_shape_and_dtype(tmp_path):
    stores = [
        open_store(tmp_path),
        open_store(tmp_path, "b"),
        open_store(tmp_path, shape=(15,)),
        open_store(tmp_path, dtype="float16"),
    ]

    assert len({store.folder for store in stores}) == 4
    assert {store.folder.parent for store in stores} == {tmp_path / "stores"}


def test_order_of_the_key_does_not_matter(tmp_path):
    one = RowStore(tmp_path, {"a": 1, "b": [2]}, shape=(1,), dtype="float32")
    other = RowStore(tmp_path, {"b": (2,), "a": 1}, shape=(1,), dtype="float32")

    assert one.folder == other.folder


def test_key_file_tells_what_the_rows_are(tmp_path):
    fill(open_store(tmp_path, "resnet50"), range(2))

    text = (open_store(tmp_path, "resnet50").folder / "key.json").read_text()

    assert json.loads(text)["key"] == {"backbone": "resnet50"}
    assert json.loads(text)["shape"] == list(SHAPE)
    assert len(text.splitlines()) > 5


def test_cache_root_is_the_folder_then_the_environment_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache_root("here", {"TRANSFERKIT_HOME": "/there"}) == Path("here")
    assert cache_root("~/mine", {}) == tmp_path / "mine"
    assert cache_root(None, {"TRANSFERKIT_HOME": "/there"}) == Path("/there")
    assert cache_root(None, {"TRANSFERKIT_HOME": ""}) == tmp_path / ".cache" / "transferkit"


# When rows count


def test_row_bytes_are_on_the_disk_before_their_entries(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    fill(store, [])
    synced_rows, claimed = [], []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        index_rows = ((store.folder / "index.bin").stat().st_size - 64) // ENTRY_BYTES
        claimed.append((index_rows, synced_rows[-1] if synced_rows else 0))
        fsync(descriptor)
        if os.path.sameopenfile(descriptor, rows_file.fileno()):
            synced_rows.append((os.fstat(descriptor).st_size - 64) // store.row_bytes)

    monkeypatch.setattr(os, "fsync", spy)
    with open(store.folder / "rows.bin", "rb") as rows_file, store.writer() as writer:
        for number in range(6):
            writer.append(digests_of([number]), rows_of([number]))
            writer.flush()

    assert synced_rows == [1, 2, 3, 4, 5, 6]
    assert all(entries <= synced for entries, synced in claimed)
    assert claimed[-1] == (6, 6)


def test_flushes_are_few(tmp_path, monkeypatch):
    store, calls, fsync = open_store(tmp_path), [], os.fsync
    fill(store, [])
    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append(descriptor), fsync(descriptor)))

    with store.writer() as writer:
        for number in range(500):
            writer.append(digests_of([number]), rows_of([number]))

    assert len(calls) == 2


@pytest.mark.parametrize(("name", "value"), [("_FLUSH_BYTES", 120), ("_FLUSH_S", 0.0)])
def test_rows_become_visible_while_the_writer_goes_on(tmp_path, monkeypatch, name, value):
    store = open_store(tmp_path)

    with store.writer() as writer:
        writer.append(digests_of([0]), rows_of([0]))
        early = num_found(open_store(tmp_path), [0])
        monkeypatch.setattr(store_writer, name, value)
        writer.append(digests_of([1]), rows_of([1]))
        late = num_found(open_store(tmp_path), [0, 1])

    assert (early, late) == (0, 2)


def test_error_inside_the_block_stays_what_it_is_and_costs_no_rows(tmp_path):
    store = open_store(tmp_path)

    def write_and_fail() -> None:
        with store.writer() as writer:
            writer.append(digests_of(range(5)), rows_of(range(5)))
            (tmp_path / "missing.jpg").read_bytes()

    with pytest.raises(FileNotFoundError):
        write_and_fail()

    fill(store, range(5, 7))
    assert_holds(store, range(7))


# How quick it is


def test_50_000_digests_are_found_in_any_order(tmp_path):
    digests = digests_of(range(50_000))
    with open_store(tmp_path, shape=()).writer() as writer:
        writer.append(digests, np.arange(50_000, dtype=np.float32))
    order = np.random.default_rng(0).permutation(50_000)

    positions = open_store(tmp_path, shape=()).find([digests[row] for row in order])

    assert np.array_equal(positions, order)
